"""Josa agreement: minimal pairs from text that the model has not been trained on.

The form of a josa (a particle) follows from the last sound of its noun: 책을 but 사과를. A pair is a held-out line up to a
josa, with its right and its wrong form (구리 지붕은, 구리 지붕는); a good model finds the right one more probable.
Each form is right equally often, so a model that always prefers one form scores 50 %.
"""

import random
import re
from collections import defaultdict

PAIRS = (("을", "를"), ("이", "가"), ("은", "는"), ("으로", "로"))  # after a final consonant, after a vowel
PARTICLES = (*(form for pair in PAIRS for form in pair), *"의 에 에서 에게 와 과 도 만 까지 부터 처럼 보다".split())
WORD = re.compile(r"(?<![^\s\"'“‘(\[])([가-힣]+)(?=[\s.,!?\"'”’)\]:;…]|$)")


def make_josa_pairs(corpus, seed=0):
    """Rows of the task `josa` from the corpus's held-out and general Korean; ValueError when there are none.

    return  list of dicts: id, with_final and without_final (the line with the form after a final consonant, after a vowel),
            pair ("을/를"), label (0: with_final is right)
    """
    lines = {"heldout": corpus.heldout_korean, "general": corpus.general_korean}
    known, found = defaultdict(set), defaultdict(list)  # known: a noun of two syllables or more -> the josa seen after it
    for line in [*corpus.korean[:50_000], *lines["heldout"], *lines["general"]]:
        for word in WORD.findall(line):
            for particle in PARTICLES:
                if word.endswith(particle) and len(word) - len(particle) >= 2:
                    known[word[: -len(particle)]].add(particle)
    for source, texts in lines.items():
        for number, line in enumerate(texts):
            for record in _find_pairs(line, known):
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


def _find_pairs(line, known):
    for match in WORD.finditer(line):
        for pair in PAIRS:
            stems = [match[1].removesuffix(form) for form in pair if match[1].endswith(form)]
            noun = next((stem for stem in stems if stem + josa_form(stem, pair) == match[1]), "")
            # two josa of other kinds show that it is a noun: 하는 or 없이 only end like one with a josa
            if len(noun) >= 2 and len(known.get(noun, set()) - set(pair)) >= 2:
                start = line[: match.start(1)] + noun
                forms = {"with_final": start + pair[0], "without_final": start + pair[1]}
                yield forms | {"pair": "/".join(pair), "label": pair.index(josa_form(noun, pair))}


def josa_form(noun, pair):
    """The form of a pair that follows a noun. Example: josa_form("서울", ("으로", "로")) -> "로"."""
    final = (ord(noun[-1]) - 0xAC00) % 28 if noun and "가" <= noun[-1] <= "힣" else 0
    return pair[0] if final and not (pair[0] == "으로" and final == 8) else pair[1]  # 8 is ㄹ: 서울로
