"""Bits per byte at step 0 of one model with several tables of rows, all measured by `bits_per_byte`."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from blossom.models.bits import measure_bits
from blossom.models.loading import first_new_row, load_model, pick_dtype

asked = json.loads(Path(sys.argv[1]).read_text())
texts = json.loads(Path(asked["texts"]).read_text(encoding="utf-8"))
model, tokenizer = load_model(asked["merged"], pick_dtype())
table, first = model.get_input_embeddings().weight, first_new_row(model)
base, _ = load_model(asked["base"])
original = base.get_input_embeddings().weight.detach().float()[:first]
result = {}
for name, file in asked["tables"].items():
    rows = load_file(file)["rows"].float()
    table.data.copy_(rows[: len(table)])
    changed = (rows[:first] != original).any(-1).sum().item()
    result[name] = {**measure_bits(model, tokenizer, texts), "base rows changed": changed}
base_quick, base_tokenizer = load_model(asked["base"], pick_dtype())
result["base"] = measure_bits(base_quick, base_tokenizer, texts)
assert torch.isfinite(table).all()
Path(asked["result"]).write_text(json.dumps(result))
