"""Our starting rows for a merged vocabulary, one table a method, as notebook 02 makes them."""

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from blossom.models.bits import collect_states, start_token
from blossom.models.loading import load_model, pick_dtype, resize_model
from blossom.vocabulary.bases import read_base
from blossom.vocabulary.embeddings import calibrate_rows, random_rows, subword_rows
from blossom.vocabulary.encoding import encode_lines
from blossom.vocabulary.loading import load_tokenizer
from blossom.vocabulary.merging import MergedVocab

asked = json.loads(Path(sys.argv[1]).read_text())
base = read_base(asked["base"])
tokenizer = load_tokenizer(asked["merged"])
new = [tokenizer.convert_ids_to_tokens(i) for i in range(base.size, len(tokenizer))]
ids = MergedVocab(base, new).base_ids()
started = time.perf_counter()
model, _ = load_model(asked["base"])
old = model.get_input_embeddings().weight.detach()[: base.size].clone()
method = asked["method"]
if method == "random":
    rows = random_rows(old, len(new), seed=0)
elif method == "mean":
    rows = old.float().mean(0).to(old).repeat(len(new), 1)
else:
    rows = subword_rows(old, ids)
if method == "calibrated":
    quick = model.to(pick_dtype("auto"))
    resize_model(quick, base.size, rows)
    lines = json.loads(Path(asked["text"]).read_text(encoding="utf-8"))[: asked["calibration_lines"]]
    encoded = encode_lines(tokenizer, lines)
    seen = torch.bincount(torch.tensor([i for line in encoded for i in line]), minlength=len(tokenizer))
    hidden = collect_states(quick, [[start_token(tokenizer), *line] for line in encoded[:: max(1, len(encoded) // 200)]])
    rows = calibrate_rows(old, rows, hidden, seen)
save_file({"rows": torch.cat([old, rows])}, asked["rows"])
Path(asked["result"]).write_text(json.dumps({"seconds": time.perf_counter() - started}))
