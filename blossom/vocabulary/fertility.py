"""How many tokens a text takes: fertility, cost, word frequencies."""

from collections import Counter

from blossom.assets.registry import fetch_asset
from blossom.vocabulary.encoding import encode_lines
from blossom.vocabulary.spelling import fallback_ids, is_whole, token_bytes


def measure_fertility(tokenizer, lines):
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
    used = Counter(i for ids in encode_lines(tokenizer, lines) for i in ids)
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


def choose_unit(lines):
    """What the text is counted by: "word", or "character" where words are not parted by spaces (Japanese, Chinese, Thai).

    lines  list of str; a word of theirs may have 15 characters on average
    """
    characters, words = sum(map(len, lines)), sum(len(line.split()) for line in lines)
    return "word" if characters <= 15 * words else "character"


def compare_cost(korean, english, context, language="Korean"):
    """What the same content costs in Korean (or another `language`, by name) and in English.

    korean, english  `measure_fertility` of two texts that are translations of each other
    context          tokens that fit in a prompt
    return           dict; "premium" is Korean tokens over English tokens (Petrov et al. 2023, arXiv:2305.15425)
    """
    return {
        f"tokens for 1,000 {language} characters": korean["tokens_per_1000_chars"],
        f"{language} characters in the context": context * 1000 / korean["tokens_per_1000_chars"],
        "English characters in the context": context * 1000 / english["tokens_per_1000_chars"],
        "premium": korean["tokens"] / english["tokens"],
    }


def weigh_fertility(tokenizer, frequencies):
    """Tokens per word when words come as often as a frequency list says.

    frequencies  word -> share of running text (any positive unit); each word is spelled with a space before it
    """
    words = list(frequencies)
    plain = [word if _adds_space(tokenizer) else " " + word for word in words]
    lengths = map(len, encode_lines(tokenizer, plain))
    return sum(n * frequencies[w] for n, w in zip(lengths, words, strict=True)) / sum(frequencies.values())


def _adds_space(tokenizer):
    """Whether the tokenizer puts a space before a text by itself, as SentencePiece's "dummy prefix" does."""
    with_space = tokenizer.backend_tokenizer.encode("a", add_special_tokens=False).tokens
    return bool(with_space) and with_space[0].startswith("▁")


def measure_token_lengths(tokenizer, lines):
    """Shares of the tokens that hold a part of a character, one, two, three or more characters (spaces not counted)."""
    table, tally = token_bytes(tokenizer), Counter()
    used = Counter(i for ids in encode_lines(tokenizer, lines) for i in ids)
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


def take_first_bytes(lines, size):
    """The first of some lines that make up `size` bytes of UTF-8 (one at least): a part to measure quickly."""
    taken, total = [], 0
    for line in lines:
        total += len(line.encode())
        if taken and total > size:
            break
        taken.append(line)
    return taken
