"""Tokens as bytes and as readable text."""

import re

from transformers.convert_slow_tokenizer import bytes_to_unicode

from blossom.vocabulary.encoding import encode_lines

BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
BYTE_ALPHABET = bytes_to_unicode()  # byte -> GPT-2's printable character for it
BYTE_OF = {character: byte for byte, character in BYTE_ALPHABET.items()}


def kind_of(tokenizer):
    """How tokens are written: "byte-level" (GPT-2's byte alphabet: SmolLM2, Llama-3, Qwen), "WordPiece", "SentencePiece"."""
    kind = "WordPiece" if type(tokenizer.backend_tokenizer.model).__name__ == "WordPiece" else "SentencePiece"
    return "byte-level" if "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder) else kind


def token_bytes(tokenizer):
    """The UTF-8 bytes of each token: list of bytes, index = id; b"" for special tokens, "▁" is a space."""
    vocabulary, kind = tokenizer.get_vocab(), kind_of(tokenizer)
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    table = [b""] * (max(vocabulary.values()) + 1)
    for token, i in vocabulary.items():
        if token not in special:
            table[i] = piece_bytes(token, kind)
    return table


def piece_bytes(piece, kind):
    """The UTF-8 bytes of a piece. "▁먹", byte-level "Ġë¨¹", WordPiece's "먹" are " 먹", "##먹" is "먹", "<0xED>" a byte."""
    if kind == "byte-level":
        return bytes(BYTE_OF[c] for c in piece) if all(c in BYTE_OF for c in piece) else piece.encode()
    if kind == "WordPiece":
        return f" {piece}".removeprefix(" ##").encode()
    match = BYTE_PIECE.fullmatch(piece)
    return bytes([int(match[1], 16)]) if match else piece.replace("▁", " ").encode()


def is_whole(data):
    """Whether bytes decode as UTF-8: byte-fallback tokens and parts of characters do not."""
    return data.decode(errors="ignore").encode() == data


def fallback_ids(tokenizer):
    """The ids of tokens that are only part of a character: byte tokens from 0x80 up, or byte-level BPE tokens."""
    return {i for i, data in enumerate(token_bytes(tokenizer)) if not is_whole(data)}


def spell_text(tokenizer, text):
    """The tokens of a text in readable form. Example (Llama-2): "먹" -> ["▁", "<0xEB>", "<0xA8>", "<0xB9>"]."""
    table = token_bytes(tokenizer)
    return [show_bytes(table[i]) for i in encode_lines(tokenizer, [text])[0]]


def show_bytes(data):
    """The bytes of a token as text: "▁" for a space, "<0xED>" for each byte that is part of a character."""
    if not data:
        return "<unk>"
    shown = data.decode(errors="surrogateescape").replace(" ", "▁")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in shown)
