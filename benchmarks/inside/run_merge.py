"""Our vocabulary merge of a SentencePiece base and donor, saved as tokenizer.model and as a fast tokenizer."""

import json
import sys
import time
from pathlib import Path

started = time.perf_counter()

import transformers  # noqa: E402, F401

from blossom.vocabulary.bases import read_base  # noqa: E402
from blossom.vocabulary.merging import merge_vocab, save_tokenizer  # noqa: E402
from blossom.vocabulary.pieces import clean_pieces, read_donor, script_pattern  # noqa: E402

asked = json.loads(Path(sys.argv[1]).read_text())
imported = time.perf_counter()
base = read_base(asked["base"])
pattern = script_pattern(asked["scripts"]) if asked["scripts"] else None
pieces, _ = clean_pieces(base, read_donor(asked["donor"]), pattern)
merged = merge_vocab(base, pieces, asked["unreachable"])
done = time.perf_counter()
save_tokenizer(merged, Path(asked["out"]))
saved = time.perf_counter()
size = base.size + len(merged.pieces)
Path(asked["result"]).write_text(
    json.dumps({"import": imported - started, "merge": done - imported, "fast": saved - done, "pieces": size})
)
