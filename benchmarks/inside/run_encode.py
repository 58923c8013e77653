"""Encoding throughput of a merged tokenizer: our batches, SentencePiece's Python loop, SentencePiece's own batch."""

import json
import sys
import time
from pathlib import Path

asked = json.loads(Path(sys.argv[1]).read_text())
lines = json.loads(Path(asked["lines"]).read_text(encoding="utf-8"))
size = sum(len(line.encode()) for line in lines)

if asked["way"] == "ours":
    from blossom import tokenization

    tokenizer = tokenization.load(asked["out"])

    def encode(texts):
        return tokenization.encode(tokenizer, texts)
else:
    from sentencepiece import SentencePieceProcessor

    tokenizer = SentencePieceProcessor(model_file=str(Path(asked["out"]) / "tokenizer.model"))

    def encode(texts):
        if asked["way"] == "loop":
            return [tokenizer.encode(text) for text in texts]
        return tokenizer.encode(texts, num_threads=-1)


encode(lines[:200])
started = time.perf_counter()
tokens = sum(map(len, encode(lines)))
seconds = time.perf_counter() - started
Path(asked["result"]).write_text(json.dumps({"megabytes_per_second": size / 1e6 / seconds, "tokens": tokens}))
