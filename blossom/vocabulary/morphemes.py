"""Whether tokens end where morphemes end. Needs the extra `kiwipiepy`, a Korean morphological analyser (LGPL).

햄버거를 is 햄버거 + 를: a token that ends before 를 can be reused with every noun, one that ends inside 햄버거 cannot.
"""

import importlib.util
import itertools

from blossom.vocabulary.encoding import encode_lines
from blossom.vocabulary.spelling import token_bytes


def has_kiwi():
    """Whether kiwipiepy is installed."""
    return importlib.util.find_spec("kiwipiepy") is not None


def find_morpheme_borders(lines):
    """Where morphemes meet inside the words of some lines, as Kiwi sees it: list of sets of character positions.

    Example: "햄버거를 먹는" -> {3, 6}. A syllable that two morphemes share (했 = 하 + 었) is one piece.
    Raises ImportError where kiwipiepy is missing.
    """
    from kiwipiepy import Kiwi

    found = []
    for line, tokens in zip(lines, Kiwi().tokenize(list(lines)), strict=True):
        ends = {place for token in tokens for place in (token.start, token.end)}
        shared = {place for token in tokens for place in range(token.start + 1, token.end)}
        found.append(_inside_words(line, ends - shared))
    return found


def find_token_borders(tokenizer, lines):
    """Where tokens meet inside the words of some lines: list of sets of character positions.

    A border inside a character (byte fallback) lies at no position and is not listed. A line that the tokenizer rewrites
    (a full-width letter, two spaces) is None: its tokens lie nowhere in it.
    """
    table, found = token_bytes(tokenizer), []
    for line, ids in zip(lines, encode_lines(tokenizer, lines), strict=True):
        spelled = b"".join(table[i] for i in ids)
        ahead = len(spelled) - len(line.encode())  # SentencePiece's space before the line
        if spelled[max(0, ahead) :] != line.encode():
            found.append(None)
            continue
        ends = {end - ahead for end in itertools.accumulate(len(table[i]) for i in ids)}
        bytes_before = itertools.accumulate((len(character.encode()) for character in line), initial=0)
        found.append(_inside_words(line, {place for place, size in enumerate(bytes_before) if size in ends}))
    return found


def _inside_words(line, places):
    return {p for p in places if 0 < p < len(line) and not line[p - 1].isspace() and not line[p].isspace()}


def compare_borders(tokens, morphemes):
    """How well the two lists of border sets agree: dict of shares.

    token ends at a morpheme's end    of the borders of tokens (precision); None when there are none
    morpheme ends at a token's end    of the borders of morphemes (recall)
    lines                             counted: those that the tokenizer does not rewrite
    """
    pairs = [(a & b, a, b) for a, b in zip(tokens, morphemes, strict=True) if a is not None]
    both, ours, theirs = (sum(len(sets[i]) for sets in pairs) for i in range(3))
    return {
        "token ends at a morpheme's end": both / ours if ours else None,
        "morpheme ends at a token's end": both / theirs if theirs else None,
        "lines": len(pairs),
    }
