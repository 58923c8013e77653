"""Where pieces come from: another tokenizer's vocabulary, cleaned and counted, never silently."""

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

from blossom.assets.registry import fetch_asset
from blossom.vocabulary.loading import load_tokenizer
from blossom.vocabulary.pieces import script_pattern, train_pieces
from blossom.vocabulary.spelling import BYTE_PIECE, is_byte_level, is_whole, piece_bytes
from blossom.vocabulary.spm import NORMAL, USER_DEFINED, read_sentencepiece

SPECIAL = re.compile(r"\[[A-Z]+\d*\]|<[|/]?[a-z_]+\d*[|]?>")  # [UNK], [unused0], <s>, </s>, <|endoftext|>


def read_donor(source):
    """A donor's pieces as text, the space before a word included, in the donor's own order (the best first).

    source  asset, hub id, folder, SentencePiece `.model` (BPE or unigram), or a JSON vocabulary {piece: id}
    return  list of str; a part of a character (byte-level BPE) comes as bytes

    Raises ValueError when the source is no tokenizer.
    """
    path = Path(fetch_asset(str(source)))
    if path.suffix == ".json":
        return _from_json(path)
    model_file = path / "tokenizer.model" if path.is_dir() else path
    if model_file.is_file():
        return _from_sentencepiece(read_sentencepiece(model_file))
    return _from_fast(load_tokenizer(source))


def _from_sentencepiece(proto):
    wanted = (NORMAL, USER_DEFINED)
    found = [p for p in proto.pieces if p.type in wanted]
    return [_text(p.piece) for p in sorted(found, key=lambda p: -p.score)]


def _from_fast(tokenizer):
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = {t.content for t in tokenizer.added_tokens_decoder.values()}
    vocabulary = model["vocab"] if isinstance(model["vocab"], dict) else {p: i for i, (p, _) in enumerate(model["vocab"])}
    ordered = [p for p in sorted(vocabulary, key=vocabulary.get) if p not in special]
    if is_byte_level(tokenizer):
        return [_decoded(piece_bytes(p, True)) for p in ordered]
    ordered = [p for p in ordered if not BYTE_PIECE.fullmatch(p)]
    return [_text(p, word_piece=model["type"] == "WordPiece") for p in ordered]


def _from_json(path):
    try:
        vocabulary = json.loads(path.read_text(encoding="utf-8"))
        ordered = [p for p in sorted(vocabulary, key=vocabulary.get) if not SPECIAL.fullmatch(p)]
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"{path}: not a vocabulary; expected JSON of the form {{piece: id}}") from None
    word_piece = any(p.startswith("##") for p in ordered)
    return [_text(p, word_piece) for p in ordered]


def _text(piece, word_piece=False):
    """Example: "▁먹" -> " 먹"; of a WordPiece vocabulary "먹" -> " 먹" and "##는" -> "는"."""
    if word_piece:
        return piece[2:] if piece.startswith("##") else " " + piece
    return piece.replace("▁", " ")


def _decoded(data):
    return data.decode() if is_whole(data) else data


def clean_pieces(base, texts, pattern):
    """Pieces worth adding to a base, in its alphabet, and the count of those that are not, by reason.

    base     a base of `bases`
    texts    what `read_donor` gives
    pattern  compiled pattern that a whole piece must match (`pieces.run_pattern`); None keeps every script
    return   (list of pieces, Counter reason -> pieces)

    Raises ValueError when nothing is left.
    """
    kept, removed = {}, Counter()
    for text in texts:
        if isinstance(text, str) and not unicodedata.is_normalized("NFC", text):
            removed["not NFC (taken as NFC)"] += 1
            text = unicodedata.normalize("NFC", text)
        if reason := _unfit(text, pattern):
            removed[reason] += 1
            continue
        piece = base.piece(text)
        if piece in base.vocabulary:
            removed["in the base already"] += 1
        elif piece in kept:
            removed["twice in the donor"] += 1
        elif base.words(text) != [piece]:
            removed["split or rewritten by the base before merging"] += 1
        else:
            kept[piece] = text
    if not kept:
        reasons = ", ".join(f"{n} {reason}" for reason, n in removed.items())
        raise ValueError(
            f"donor: none of its {len(texts)} pieces fits {base.name} ({reasons}); take another donor or script"
        )
    return list(kept), removed


def _unfit(text, pattern):
    """Why a piece cannot be taken, "" when it can."""
    if isinstance(text, bytes):
        return "part of a character"
    if not text.strip():
        return "empty or white space"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn") or c == "\ufffd" for c in text):
        return "control or unassigned characters"
    if pattern and not pattern.fullmatch(text):
        return "in another script"
    return ""


def propose_pieces(donor, base, counts, size, scripts):
    """The pieces to ask for: of another tokenizer, or learned from the counts of `count_runs`.

    donor   "trained", or what `read_donor` takes
    size    pieces to learn when trained; 0 learns 8,000 (KoBERT's number)
    return  (pieces in the base's alphabet, reason -> number of donor pieces not taken)
    """
    if donor == "trained":
        return train_pieces(base, counts, size or 8000), {}
    return clean_pieces(base, read_donor(donor), script_pattern(scripts) if scripts else None)
