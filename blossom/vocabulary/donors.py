"""New pieces from another tokenizer's vocabulary."""

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

from blossom.assets.registry import fetch_asset
from blossom.vocabulary import loading
from blossom.vocabulary.pieces import script_pattern, train_pieces
from blossom.vocabulary.spelling import BYTE_PIECE, is_byte_level, is_whole, piece_bytes

SPECIAL = re.compile(r"\[[A-Z]+\d*\]|<[|/]?[a-z_]+\d*[|]?>")  # [UNK], [unused0], <s>, </s>, <|endoftext|>


def propose_pieces(donor, base, counts, size, scripts):
    """New pieces for a base, and how many were rejected for each reason.

    donor  "trained" (learn `size` pieces from `counts`; 0: 8,000, about KoBERT's number), or a source for `read_donor`
    """
    if donor == "trained":
        return train_pieces(base, counts, size or 8000), {}
    return clean_pieces(base, read_donor(donor), script_pattern(scripts) if scripts else None)


def read_donor(source):
    """The pieces of a tokenizer, best first: text with the space before a word, or bytes for part of a character.

    source  asset, hub id, folder, SentencePiece `.model` or JSON vocabulary {piece: id}; ValueError for anything else
    """
    path = Path(fetch_asset(str(source)))
    model_file = path / "tokenizer.model" if path.is_dir() else path
    if path.suffix == ".json":
        return _read_json(path)
    if model_file.is_file():
        pieces, taken = loading.read_sentencepiece(model_file).pieces, (loading.NORMAL, loading.USER_DEFINED)
        return [_to_text(p.piece) for p in sorted(pieces, key=lambda p: -p.score) if p.type in taken]
    return _read_fast(loading.load_tokenizer(source))


def _read_fast(tokenizer):
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = {t.content for t in tokenizer.added_tokens_decoder.values()}
    vocabulary = model["vocab"] if isinstance(model["vocab"], dict) else {p: i for i, (p, _) in enumerate(model["vocab"])}
    ordered = [p for p in sorted(vocabulary, key=vocabulary.get) if p not in special]
    if is_byte_level(tokenizer):
        return [data.decode() if is_whole(data) else data for data in (piece_bytes(p, True) for p in ordered)]
    return [_to_text(p, model["type"] == "WordPiece") for p in ordered if not BYTE_PIECE.fullmatch(p)]


def _read_json(path):
    try:
        vocabulary = json.loads(path.read_text(encoding="utf-8"))
        ordered = [p for p in sorted(vocabulary, key=vocabulary.get) if not SPECIAL.fullmatch(p)]
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"{path}: not a vocabulary; expected JSON of the form {{piece: id}}") from None
    return [_to_text(p, any(p.startswith("##") for p in ordered)) for p in ordered]


def _to_text(piece, word_piece=False):
    """Example: "▁먹" -> " 먹"; in WordPiece "먹" -> " 먹" and "##는" -> "는"."""
    return f" {piece}".removeprefix(" ##") if word_piece else piece.replace("▁", " ")


def clean_pieces(base, texts, pattern):
    """The pieces of `read_donor` that a base can take, in its alphabet, and a Counter of the others by reason.

    pattern  of `script_pattern`, which whole pieces must match; None allows every script
    """
    kept, removed = {}, Counter()
    for text in texts:
        if isinstance(text, str) and not unicodedata.is_normalized("NFC", text):
            removed["not NFC (taken as NFC)"] += 1
            text = unicodedata.normalize("NFC", text)
        if reason := _reject_text(text, pattern):
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
        told = f"donor: none of its {len(texts)} pieces fits {base.name} ({reasons})"
        raise ValueError(f"{told}; take another donor or script")
    return list(kept), removed


def _reject_text(text, pattern):
    if isinstance(text, bytes):
        return "part of a character"
    if not text.strip():
        return "empty or white space"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn") or c == "\ufffd" for c in text):
        return "control or unassigned characters"
    return "in another script" if pattern and not pattern.fullmatch(text) else ""
