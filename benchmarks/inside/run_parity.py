"""What a merged tokenizer is worth: pieces that no text becomes, lines that its two implementations spell differently."""

import json
import sys
from pathlib import Path

from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as pb2
from tokenizers import Tokenizer

asked = json.loads(Path(sys.argv[1]).read_text())
lines = json.loads(Path(asked["lines"]).read_text(encoding="utf-8"))
folder = Path(asked["out"])
slow = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
fast.encode_special_tokens = True  # SentencePiece reads "<unk>" in a text as text
before = SentencePieceProcessor(model_file=asked["base"])

proto = pb2.ModelProto()
proto.ParseFromString(slow.serialized_model_proto())
proto.normalizer_spec.add_dummy_prefix = proto.normalizer_spec.remove_extra_whitespaces = False
alone = SentencePieceProcessor(model_proto=proto.SerializeToString())
new = range(before.get_piece_size(), slow.get_piece_size())
unreachable = sum(alone.encode(slow.id_to_piece(i)) != [i] for i in new)

ids = slow.encode(lines, num_threads=-1)
differ = sum(a != b.ids for a, b in zip(ids, fast.encode_batch(lines, add_special_tokens=False), strict=True))
english = [i for i, line in enumerate(lines) if line.isascii()]
changed = sum(a != ids[i] for i, a in zip(english, before.encode([lines[i] for i in english], num_threads=-1), strict=True))
korean = [line for line in lines if any("가" <= c <= "힣" for c in line)]
tokens, words = sum(map(len, slow.encode(korean, num_threads=-1))), sum(len(line.split()) for line in korean)
result = {
    "new pieces": len(new),
    "unreachable": unreachable,
    "lines that differ": differ,
    "lines": len(lines),
    "English lines changed": changed,
    "English lines": len(english),
    "tokens/word on Korean lines": tokens / words,
}
Path(asked["result"]).write_text(json.dumps(result))
