"""How many tokens a text takes, counted against its words, characters and bytes."""

import math
from collections import Counter

from blossom.text import corpus, rows
from blossom.vocabulary import encoding, spelling


def measure_fertility(tokenizer, lines):
    """Fertility (tokens per word) and other counts of some lines: a dict; ValueError when they hold no words."""
    words = sum(len(line.split()) for line in lines)
    if not words:
        raise ValueError("there are no words to count tokens of")
    used = Counter(i for ids in encoding.encode_lines(tokenizer, lines) for i in ids)
    tokens, characters = used.total(), sum(map(len, lines))
    size = sum(len(line.encode()) for line in lines)
    return {
        "fertility": tokens / words,
        "bytes_per_token": size / tokens,
        "byte_fallback_share": sum(used[i] for i in spelling.fallback_ids(tokenizer)) / tokens,  # of parts of characters
        "unknown_share": used[tokenizer.unk_token_id] / tokens if tokenizer.unk_token_id is not None else 0.0,
        "tokens_per_1000_chars": 1000 * tokens / characters,
        **{"tokens": tokens, "words": words, "characters": characters, "bytes": size},
    }


def choose_unit(lines):
    """What tokens are counted against: "word", or "character" if words average over 15 characters (Japanese, Thai)."""
    return "word" if sum(map(len, lines)) <= 15 * sum(len(line.split()) for line in lines) else "character"


def weigh_fertility(tokenizer, frequencies, unit="word"):
    """Tokens per word (with one space before it) or per "character" (without), weighted by how often each word occurs."""
    adds_space = tokenizer.backend_tokenizer.encode("a", add_special_tokens=False).tokens[0].startswith("▁")
    words = list(frequencies) if adds_space or unit == "character" else [" " + word for word in frequencies]
    lengths = map(len, encoding.encode_lines(tokenizer, words))
    units = sum(share * (1 if unit == "word" else len(word)) for word, share in frequencies.items())
    return sum(n * share for n, share in zip(lengths, frequencies.values(), strict=True)) / units


def read_frequencies(source):
    """Word -> share of running text, from an asset or a TSV file (word TAB share); ValueError names a broken line."""
    frequencies = {}
    for place, row in rows.read_rows(str(source), ("word", "share")):
        try:
            word, share = corpus.normalise_text(row["word"]), float(row["share"])
        except (KeyError, TypeError, ValueError):
            word, share = "", math.nan
        if not (word and 0 < share <= 1):
            raise ValueError(f"{place}: expected word TAB share, found {', '.join(map(str, row.values()))[:60]!r}")
        frequencies[word] = frequencies.get(word, 0.0) + share  # of its spellings that are one in NFC
    if not frequencies:
        raise ValueError(f"{source}: holds no words")
    return frequencies
