"""Chinese-LLaMA-Alpaca's vocabulary merge: every donor piece that the base lacks, appended with score 0.

After its merge_tokenizers.py (Apache-2.0), which cannot be installed as a package. Then the fast tokenizer that
transformers makes of the result.
"""

import json
import sys
import time
from pathlib import Path

started = time.perf_counter()

import sentencepiece as spm  # noqa: E402
from sentencepiece import sentencepiece_model_pb2 as pb2  # noqa: E402
from transformers import LlamaTokenizer, LlamaTokenizerFast  # noqa: E402

asked = json.loads(Path(sys.argv[1]).read_text())
folder, imported = Path(asked["out"]), time.perf_counter()
base = spm.SentencePieceProcessor(model_file=asked["base"])
donor = spm.SentencePieceProcessor(model_file=asked["donor"])
base_proto, donor_proto = pb2.ModelProto(), pb2.ModelProto()
base_proto.ParseFromString(base.serialized_model_proto())
donor_proto.ParseFromString(donor.serialized_model_proto())
known = {p.piece for p in base_proto.pieces}
for p in donor_proto.pieces:
    if p.piece not in known:
        piece = pb2.ModelProto().SentencePiece()
        piece.piece, piece.score = p.piece, 0
        base_proto.pieces.append(piece)
folder.mkdir(exist_ok=True)
(folder / "tokenizer.model").write_bytes(base_proto.SerializeToString())
merged = time.perf_counter()
LlamaTokenizer(vocab_file=str(folder / "tokenizer.model")).save_pretrained(folder)
LlamaTokenizerFast.from_pretrained(folder).save_pretrained(folder)
saved = time.perf_counter()
result = {"import": imported - started, "merge": merged - imported, "fast": saved - merged, "pieces": len(base_proto.pieces)}
Path(asked["result"]).write_text(json.dumps(result))
