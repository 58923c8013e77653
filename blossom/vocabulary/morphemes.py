"""Whether tokens end where Korean morphemes end (햄버거를 is 햄버거 + 를), by the analyser kiwipiepy, an extra (LGPL)."""

from itertools import pairwise


def find_morpheme_borders(lines):
    """Positions of the borders between morphemes inside words: a set for each line. Example: "햄버거를 먹는" -> {3, 6}."""
    from kiwipiepy import Kiwi

    found = []
    for line, tokens in zip(lines, Kiwi().tokenize(list(lines)), strict=True):
        ends = {place for token in tokens for place in (token.start, token.end)}
        shared = {place for token in tokens for place in range(token.start + 1, token.end)}  # in 했 = 하 + 었
        found.append(_keep_inside_words(line, ends - shared))
    return found


def find_token_borders(tokenizer, lines):
    """Positions of the borders between tokens inside words, but not inside a character: a set for each line."""
    offsets = tokenizer(list(lines), add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    borders = ({end for (_, end), (start, _) in pairwise(spans) if start == end} for spans in offsets)
    return [_keep_inside_words(line, places) for line, places in zip(lines, borders, strict=True)]


def _keep_inside_words(line, places):
    return {p for p in places if 0 < p < len(line) and not line[p - 1].isspace() and not line[p].isspace()}


def compare_borders(tokens, morphemes):
    """Precision and recall of token borders against morpheme borders: a dict."""
    both = sum(len(t & m) for t, m in zip(tokens, morphemes, strict=True))
    of_tokens, of_morphemes = sum(map(len, tokens)), sum(map(len, morphemes))
    return {
        "token ends at a morpheme's end": both / of_tokens if of_tokens else None,
        "morpheme ends at a token's end": both / of_morphemes if of_morphemes else None,
        "lines": len(tokens),
    }
