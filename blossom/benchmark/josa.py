"""Josa agreement: minimal pairs made from text that the model has not seen.

A josa's form follows from the last sound of its noun: 책을 but 사과를. A pair is a line of held-out Korean up to a josa,
once with its right and once with its wrong form; a model that knows Korean finds the right one more probable:

    구리 지붕은 ✓   구리 지붕는 ✗

Both forms are right equally often, so always preferring one of them scores 50 %. The line is read as bits per byte are
measured: as a document of its own, after the token that starts one.
"""

import random
import re
from collections import defaultdict

PAIRS = (("을", "를"), ("이", "가"), ("은", "는"), ("으로", "로"))  # after a final consonant, after a vowel
PARTICLES = (*(form for pair in PAIRS for form in pair), *"의 에 에서 에게 와 과 도 만 까지 부터 처럼 보다".split())
WORD = re.compile(r"(?<![^\s\"'“‘(\[])([가-힣]+)(?=[\s.,!?\"'”’)\]:;…]|$)")
NOUN_LINES = 50_000  # lines that nouns are learned from
RIEUL = 8  # ㄹ: 서울로, not 서울으로


def make_josa_pairs(corpus, seed=0):
    """Records of task `josa`, as many with each form of a pair.

    corpus  corpus.Corpus: pairs come from its held-out and general Korean, never from what is trained on
    return  list of dicts: id, with_final and without_final (the line up to and with the josa's form after a final consonant,
            after a vowel), pair ("을/를"), label (0: the form after a final consonant is right)

    A noun is two syllables or more that occur with at least two josa of other kinds in the corpus: so 하는 or 없이, where
    a verb's ending looks like a josa, is not taken for one. Raises ValueError when the text has no such pair.
    """
    lines = {"heldout": corpus.heldout_korean, "general": corpus.general_korean}
    known = find_nouns([*corpus.korean[:NOUN_LINES], *lines["heldout"], *lines["general"]])
    found = defaultdict(list)
    for source, texts in lines.items():
        for number, line in enumerate(texts):
            for record in _in_line(line, known):
                found[record["pair"], record["label"]].append(
                    {"id": f"{source}-{number}-{len(record['with_final'])}", **record}
                )
    drawn = []
    for pair in ("/".join(pair) for pair in PAIRS):
        count = min(len(found[pair, 0]), len(found[pair, 1]))
        for side in (0, 1):
            drawn += random.Random(f"{seed} {pair} {side}").sample(found[pair, side], count)
    if not drawn:
        raise ValueError("josa: the held-out Korean has no noun with both forms of a josa; hold out more lines")
    return drawn


def find_nouns(lines):
    """Nouns of two syllables or more -> the kinds of josa seen after them."""
    seen = defaultdict(set)
    for line in lines:
        for word in WORD.findall(line):
            for particle in PARTICLES:
                if word.endswith(particle) and len(word) - len(particle) >= 2:
                    seen[word[: -len(particle)]].add(particle)
    return seen


def _in_line(line, known):
    """A record without id for each noun of a line that is followed by one of PAIRS in its right form."""
    for match in WORD.finditer(line):
        for pair in PAIRS:
            noun = _noun(match[1], pair)
            if len(noun) >= 2 and len(known.get(noun, set()) - set(pair)) >= 2:
                with_final, without = (line[: match.start(1)] + noun + form for form in pair)
                yield {
                    "with_final": with_final,
                    "without_final": without,
                    "pair": "/".join(pair),
                    "label": pair.index(josa_form(noun, pair)),
                }


def _noun(word, pair):
    """What stands before a pair's right form at the end of a word; "" when the word does not end so."""
    stems = [word.removesuffix(form) for form in pair if word.endswith(form)]
    return next((stem for stem in stems if stem + josa_form(stem, pair) == word), "")


def josa_form(noun, pair):
    """The form of a pair that follows a noun. Example: josa_form("서울", ("으로", "로")) -> "로"."""
    final = (ord(noun[-1]) - 0xAC00) % 28 if noun and "가" <= noun[-1] <= "힣" else 0
    return pair[0] if final and not (pair[0] == "으로" and final == RIEUL) else pair[1]
