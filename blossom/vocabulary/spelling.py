"""What a tokenizer makes of text: tokens as bytes, counts, readable pieces."""

import functools
import re
from collections import Counter

from blossom.assets.registry import fetch_asset
from blossom.vocabulary.encoding import encode

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


def statistics(tokenizer, lines):
    """How some lines are spelled.

    fertility             tokens per word (words: between white space)
    bytes_per_token       UTF-8 bytes of the text over tokens
    byte_fallback_share   share of the tokens that hold no whole character
    unknown_share         share of the tokens that are the unknown token (its text is lost)
    tokens_per_1000_chars, tokens, words, characters, bytes: counts
    Raises ValueError when the lines hold no words.
    """
    lines = list(lines)
    words = sum(len(line.split()) for line in lines)
    if not words:
        raise ValueError("there are no words to count tokens of")
    used = Counter(i for ids in encode(tokenizer, lines) for i in ids)
    tokens, characters = used.total(), sum(map(len, lines))
    size = sum(len(line.encode()) for line in lines)
    return {
        "fertility": tokens / words,
        "bytes_per_token": size / tokens,
        "byte_fallback_share": sum(used[i] for i in fallback_ids(tokenizer)) / tokens,
        "unknown_share": used[tokenizer.unk_token_id] / tokens if tokenizer.unk_token_id is not None else 0.0,
        "tokens_per_1000_chars": 1000 * tokens / characters,
        **{"tokens": tokens, "words": words, "characters": characters, "bytes": size},
    }


def unit(lines):
    """What the text is counted by: "word", or "character" where words are not parted by spaces (Japanese, Chinese, Thai).

    lines  list of str; a word of theirs may have 15 characters on average
    """
    characters, words = sum(map(len, lines)), sum(len(line.split()) for line in lines)
    return "word" if characters <= 15 * words else "character"


def cost(korean, english, context, language="Korean"):
    """What the same content costs in Korean (or another `language`, by name) and in English.

    korean, english  `statistics` of two texts that are translations of each other
    context          tokens that fit in a prompt
    return           dict; "premium" is Korean tokens over English tokens (Petrov et al. 2023, arXiv:2305.15425)
    """
    return {
        f"tokens for 1,000 {language} characters": korean["tokens_per_1000_chars"],
        f"{language} characters in the context": context * 1000 / korean["tokens_per_1000_chars"],
        "English characters in the context": context * 1000 / english["tokens_per_1000_chars"],
        "premium": korean["tokens"] / english["tokens"],
    }


def weighted_fertility(tokenizer, frequencies):
    """Tokens per word when words come as often as a frequency list says.

    frequencies  word -> share of running text (any positive unit); each word is spelled with a space before it
    """
    words = list(frequencies)
    plain = [word if _adds_space(tokenizer) else " " + word for word in words]
    lengths = map(len, encode(tokenizer, plain))
    return sum(n * frequencies[w] for n, w in zip(lengths, words, strict=True)) / sum(frequencies.values())


def _adds_space(tokenizer):
    """Whether the tokenizer puts a space before a text by itself, as SentencePiece's "dummy prefix" does."""
    with_space = tokenizer.backend_tokenizer.encode("a", add_special_tokens=False).tokens
    return bool(with_space) and with_space[0].startswith("▁")


def spell(tokenizer, text):
    """The pieces of a text as people can read them. Example (Llama-2): "먹" -> ["▁", "<0xEB>", "<0xA8>", "<0xB9>"]."""
    table = token_bytes(tokenizer)
    return [_shown(table[i]) for i in encode(tokenizer, [text])[0]]


def _shown(data):
    if not data:
        return "<unk>"
    if is_whole(data):
        return data.decode().replace(" ", "▁")
    shown = data.decode("utf-8", errors="surrogateescape").replace(" ", "▁")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in shown)


def shared_parts(tokenizer, characters):
    """Which characters each byte token serves: readable token -> set of characters that are spelled with it.

    Only tokens that hold no whole character are listed. Example (Llama-2): ["햄", "버"] -> {"<0x84>": {"햄", "버"}, ...}
    """
    part, table, owners = fallback_ids(tokenizer), token_bytes(tokenizer), {}
    for character, ids in zip(characters, encode(tokenizer, characters), strict=True):
        for i in part.intersection(ids):
            owners.setdefault(_shown(table[i]), set()).add(character)
    return owners


def token_lengths(tokenizer, lines):
    """Shares of the tokens that hold a part of a character, one, two, three or more characters (spaces not counted)."""
    table, tally = token_bytes(tokenizer), Counter()
    used = Counter(i for ids in encode(tokenizer, lines) for i in ids)
    for i, count in used.items():
        length = len(table[i].decode().strip()) if is_whole(table[i]) else 0
        tally["a part of one" if not is_whole(table[i]) else min(max(length, 1), 3)] += count
    names = {"a part of one": "a part of one", 1: "one character", 2: "two", 3: "three or more"}
    return {name: tally[key] / used.total() for key, name in names.items()}


def read_frequencies(source):
    """Word -> share of running text, from an asset or a TSV file (word TAB share); ValueError names a broken line."""
    frequencies = {}
    with open(fetch_asset(source), encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            word, _, share = line.rstrip("\n").partition("\t")
            try:
                frequencies[word] = float(share)
            except ValueError:
                raise ValueError(f"{source}, line {number}: expected word TAB share, found {line[:60]!r}") from None
    return frequencies


def first_bytes(lines, size):
    """The first of some lines that make up `size` bytes of UTF-8 (one at least): a part to measure quickly."""
    taken, total = [], 0
    for line in lines:
        total += len(line.encode())
        if taken and total > size:
            break
        taken.append(line)
    return taken
