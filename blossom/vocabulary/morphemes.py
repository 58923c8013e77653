"""Whether tokens end where morphemes end. Needs the extra `kiwipiepy`, a Korean morphological analyser (LGPL).

햄버거를 (*hamburger*, object) is 햄버거 + 를: a token that ends before 를 can be reused with every noun.
"""

from itertools import accumulate

from blossom.vocabulary.encoding import encode_lines
from blossom.vocabulary.spelling import token_bytes


def find_morpheme_borders(lines):
    """Borders between morphemes inside the words of some lines: list of sets of character positions.

    Example: "햄버거를 먹는" -> {3, 6}. There is no border inside a syllable that two morphemes share (했 = 하 + 었).
    """
    from kiwipiepy import Kiwi

    found = []
    for line, tokens in zip(lines, Kiwi().tokenize(list(lines)), strict=True):
        ends = {place for token in tokens for place in (token.start, token.end)}
        shared = {place for token in tokens for place in range(token.start + 1, token.end)}
        found.append(_keep_inside_words(line, ends - shared))
    return found


def find_token_borders(tokenizer, lines):
    """Borders between tokens inside the words of some lines: list of sets of character positions.

    Borders inside a character (byte fallback) are left out. A line that the tokenizer normalises is None.
    """
    table, found = token_bytes(tokenizer), []
    for line, ids in zip(lines, encode_lines(tokenizer, lines), strict=True):
        spelled = b"".join(table[i] for i in ids)
        ahead = len(spelled) - len(line.encode())  # SentencePiece's space before the line
        if spelled[max(0, ahead) :] != line.encode():
            found.append(None)
            continue
        ends = {end - ahead for end in accumulate(len(table[i]) for i in ids)}
        bytes_before = accumulate((len(character.encode()) for character in line), initial=0)
        found.append(_keep_inside_words(line, {place for place, size in enumerate(bytes_before) if size in ends}))
    return found


def _keep_inside_words(line, places):
    return {p for p in places if 0 < p < len(line) and not line[p - 1].isspace() and not line[p].isspace()}


def compare_borders(tokens, morphemes):
    """Precision and recall of token borders against morpheme borders, over the lines that are not None: a dict."""
    pairs = [(t, m) for t, m in zip(tokens, morphemes, strict=True) if t is not None]
    both = sum(len(t & m) for t, m in pairs)
    of_tokens, of_morphemes = sum(len(t) for t, _ in pairs), sum(len(m) for _, m in pairs)
    return {
        "token ends at a morpheme's end": both / of_tokens if of_tokens else None,
        "morpheme ends at a token's end": both / of_morphemes if of_morphemes else None,
        "lines": len(pairs),
    }
