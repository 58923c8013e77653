"""What a tokenizer makes of text: tokens as bytes, counts, readable pieces."""

import functools
import re

from blossom.vocabulary.encoding import encode_lines

BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
PAPERS_TABLE_1 = {  # as printed; "_" and "▁" are a space
    "Llama-2, as the paper prints it": [
        *("_", "<0xED>", "<0x96>", "<0x84>", "<0xEB>", "<0xB2>", "<0x84>", "<0xEA>", "<0xB1>", "<0xB0>", "를"),
        *("▁", "<0xEB>", "<0xA8>", "<0xB9>", "는", "▁", "공", "<0xEB>", "<0xA3>", "<0xA1>"),
    ],
    "Bllossom, as the paper prints it": ["햄", "버", "거", "를", "▁", "먹는", "▁", "공", "룡"],
}


@functools.cache
def byte_alphabet():
    """GPT-2's printable character for each byte: 256 characters, index = byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return "".join(chr(b if b in shown else 256 + hidden.index(b)) for b in range(256))


@functools.cache
def _byte_of():
    return {character: byte for byte, character in enumerate(byte_alphabet())}


def is_byte_level(tokenizer):
    """Whether the tokens are written in GPT-2's byte alphabet (SmolLM2, Llama-3, Qwen) and not in characters."""
    decoder = tokenizer.backend_tokenizer.decoder
    return decoder is not None and "ByteLevel" in repr(decoder)


def token_bytes(tokenizer):
    """The UTF-8 bytes each id stands for: list of bytes, index = id; special tokens give b"", "▁" a space."""
    vocabulary = tokenizer.get_vocab()
    table = [b""] * (max(vocabulary.values()) + 1)
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    byte_level = is_byte_level(tokenizer)
    for token, i in vocabulary.items():
        if token not in special:
            table[i] = piece_bytes(token, byte_level)
    return table


def piece_bytes(piece, byte_level):
    """The UTF-8 bytes of one piece. Example: "▁먹" and, byte-level, "Ġë¨¹" -> " 먹" in UTF-8; "<0xED>" -> b"\\xed"."""
    if byte_level:
        known = _byte_of()
        return bytes(known[c] for c in piece) if all(c in known for c in piece) else piece.encode()
    match = BYTE_PIECE.fullmatch(piece)
    return bytes([int(match[1], 16)]) if match else piece.replace("▁", " ").encode()


def is_whole(data):
    """Whether bytes hold whole characters only; a byte-fallback token, or a part of a character, does not."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def fallback_ids(tokenizer):
    """Ids whose bytes are no whole characters: byte pieces from 0x80 up, and parts of characters in byte-level BPE."""
    return {i for i, data in enumerate(token_bytes(tokenizer)) if not is_whole(data)}


def spell_text(tokenizer, text):
    """The pieces of a text as people can read them. Example (Llama-2): "먹" -> ["▁", "<0xEB>", "<0xA8>", "<0xB9>"]."""
    table = token_bytes(tokenizer)
    return [_shown(table[i]) for i in encode_lines(tokenizer, [text])[0]]


def _shown(data):
    if not data:
        return "<unk>"
    if is_whole(data):
        return data.decode().replace(" ", "▁")
    shown = data.decode("utf-8", errors="surrogateescape").replace(" ", "▁")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in shown)


def find_shared_bytes(tokenizer, characters):
    """Which characters each byte token serves: readable token -> set of characters that are spelled with it.

    Only tokens that hold no whole character are listed. Example (Llama-2): ["햄", "버"] -> {"<0x84>": {"햄", "버"}, ...}
    """
    part, table, owners = fallback_ids(tokenizer), token_bytes(tokenizer), {}
    for character, ids in zip(characters, encode_lines(tokenizer, characters), strict=True):
        for i in part.intersection(ids):
            owners.setdefault(_shown(table[i]), set()).add(character)
    return owners
