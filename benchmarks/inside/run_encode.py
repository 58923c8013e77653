"""Encoding throughput of a merged tokenizer: ours, HF's batches, SentencePiece's Python loop, SentencePiece's own batch.

Loading is not timed (SentencePiece's trie, HF's tables, our engine); the words of the text are new to all of them.
"""

import json
import sys
import time
from pathlib import Path

asked = json.loads(Path(sys.argv[1]).read_text())
lines = json.loads(Path(asked["lines"]).read_text(encoding="utf-8"))
size = sum(len(line.encode()) for line in lines)

if asked["way"] in ("ours", "hf"):
    from blossom.vocabulary.encoding import encode_lines, find_engine
    from blossom.vocabulary.loading import load_tokenizer

    tokenizer = load_tokenizer(asked["out"])
    itself = asked["way"] == "hf"
    engine = None if itself else find_engine(tokenizer)

    def encode(texts):
        return encode_lines(tokenizer, texts, itself=itself)
else:
    from sentencepiece import SentencePieceProcessor

    tokenizer, engine = SentencePieceProcessor(model_file=str(Path(asked["out"]) / "tokenizer.model")), None

    def encode(texts):
        if asked["way"] == "loop":
            return [tokenizer.encode(text) for text in texts]
        return tokenizer.encode(texts, num_threads=-1)


encode(lines[:200])
started, used = time.perf_counter(), time.process_time()
ids = encode(lines)
seconds, used = time.perf_counter() - started, time.process_time() - used
result = {"MB/s": size / 1e6 / seconds, "MB per core second": size / 1e6 / used, "tokens": sum(map(len, ids))}
Path(asked["result"]).write_text(json.dumps(result | {"engine": bool(engine) if asked["way"] == "ours" else None}))
