"""FOCUS (deepfocus) rows for a merged vocabulary, with fastText trained on the run's Korean lines."""

import json
import sys
import time
from pathlib import Path

from deepfocus import FOCUS
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

asked = json.loads(Path(sys.argv[1]).read_text())
started = time.perf_counter()
table = FOCUS(
    target_tokenizer=AutoTokenizer.from_pretrained(asked["merged"]),
    source_tokenizer=AutoTokenizer.from_pretrained(asked["base"]),
    source_embeddings=load_file(Path(asked["base"]) / "model.safetensors")["model.embed_tokens.weight"].float(),
    target_training_data_path=asked["jsonl"],
    fasttext_model_dim=100,
)
save_file({"rows": table.contiguous()}, asked["rows"])
Path(asked["result"]).write_text(json.dumps({"seconds": time.perf_counter() - started}))
