"""Josa agreement: minimal pairs from text that the model has not been trained on.

The form of a josa follows from the last sound of its noun: 책을 but 사과를. A pair is a held-out line up to a josa, with its
right and with its wrong form; a model that knows Korean finds the right one more probable:

    구리 지붕은 (right)   구리 지붕는 (wrong)

Each form is right equally often, so a model that always prefers one of them scores 50 %.
"""

import random
import re
from collections import defaultdict

PAIRS = (("을", "를"), ("이", "가"), ("은", "는"), ("으로", "로"))  # after a final consonant, after a vowel
PARTICLES = (*(form for pair in PAIRS for form in pair), *"의 에 에서 에게 와 과 도 만 까지 부터 처럼 보다".split())
WORD = re.compile(r"(?<![^\s\"'“‘(\[])([가-힣]+)(?=[\s.,!?\"'”’)\]:;…]|$)")
NOUN_LINES = 50_000  # lines in which nouns are looked for
RIEUL = 8  # ㄹ: 서울로, not 서울으로


def make_josa_pairs(corpus, seed=0):
    """Records of task `josa` from the corpus's held-out and general Korean, as many with each form of a pair.

    return  list of dicts: id, with_final and without_final (the line up to and with the form after a final consonant, after
            a vowel), pair ("을/를"), label (0: the form after a final consonant is right)

    A noun has two syllables or more and occurs with at least two josa of other kinds in the corpus; so 하는 or 없이, where a
    verb's ending looks like a josa, does not count. Raises ValueError when the text has no such pair.
    """
    lines = {"heldout": corpus.heldout_korean, "general": corpus.general_korean}
    known = find_nouns([*corpus.korean[:NOUN_LINES], *lines["heldout"], *lines["general"]])
    found = defaultdict(list)
    for source, texts in lines.items():
        for number, line in enumerate(texts):
            for record in _in_line(line, known):
                name = f"{source}-{number}-{len(record['with_final'])}"
                found[record["pair"], record["label"]].append({"id": name, **record})
    drawn = []
    for pair in map("/".join, PAIRS):
        count = min(len(found[pair, 0]), len(found[pair, 1]))
        for side in (0, 1):
            drawn += random.Random(f"{seed} {pair} {side}").sample(found[pair, side], count)
    if not drawn:
        raise ValueError("josa: the held-out Korean has no noun with both forms of a josa; hold out more lines")
    return drawn


def find_nouns(lines):
    """Nouns of two syllables or more -> the set of josa seen after them."""
    seen = defaultdict(set)
    for word in (word for line in lines for word in WORD.findall(line)):
        for particle in PARTICLES:
            if word.endswith(particle) and len(word) - len(particle) >= 2:
                seen[word[: -len(particle)]].add(particle)
    return seen


def _in_line(line, known):
    """A record without id for each noun of a line that is followed by one of PAIRS in its right form."""
    for match in WORD.finditer(line):
        for pair in PAIRS:
            stems = [match[1].removesuffix(form) for form in pair if match[1].endswith(form)]
            noun = next((stem for stem in stems if stem + josa_form(stem, pair) == match[1]), "")
            if len(noun) >= 2 and len(known.get(noun, set()) - set(pair)) >= 2:
                forms = [line[: match.start(1)] + noun + form for form in pair]
                record = dict(zip(("with_final", "without_final"), forms, strict=True))
                yield record | {"pair": "/".join(pair), "label": pair.index(josa_form(noun, pair))}


def josa_form(noun, pair):
    """The form of a pair that follows a noun. Example: josa_form("서울", ("으로", "로")) -> "로"."""
    final = (ord(noun[-1]) - 0xAC00) % 28 if noun and "가" <= noun[-1] <= "힣" else 0
    return pair[0] if final and not (pair[0] == "으로" and final == RIEUL) else pair[1]
