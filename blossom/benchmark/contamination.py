"""Contamination: how much of each task's items stands, word for word, in the text that a run trained on."""

import re
from collections import defaultdict

import pandas as pd

SHORTEST = 4  # words; shorter texts occur anywhere
WORD = re.compile(r"[^\W_]+")


def overlap(prepared, lines, words=8):
    """Share of each task's items that have a run of words in common with the training text.

    prepared  tasks, as `prepare` gives them
    lines     iterable of str: what the run trained on; read once
    words     length of the run; a shorter text of an item counts when all of it occurs (from 4 words on)
    return    DataFrame: task, items, checked (items with a text long enough), overlapping, share (of the checked), example

    Words are compared in lower case without punctuation. Josa stay on their nouns, so 8 Korean words say more than 8
    English ones.
    """
    wanted, checked = defaultdict(set), defaultdict(set)
    for p in prepared:
        for row in p.rows:
            for text in _texts(row):
                found = WORD.findall(text.lower())
                if len(found) >= SHORTEST:
                    checked[p.name].add(row["id"])
                    for gram in _grams(found, min(words, len(found))):
                        wanted[gram].add((p.name, row["id"]))
    hits = {}
    lengths = sorted({len(gram) for gram in wanted})
    for line in lines:
        found = WORD.findall(line.lower())
        for gram in (gram for n in lengths for gram in _grams(found, n)):
            for place in wanted.get(gram, ()):
                hits.setdefault(place, " ".join(gram))
    rows = []
    for p in prepared:
        own = [gram for (task, _), gram in hits.items() if task == p.name]
        count = len(checked[p.name])
        rows.append([p.name, len(p.rows), count, len(own), len(own) / count if count else 0.0, own[0] if own else ""])
    return pd.DataFrame(rows, columns=["task", "items", "checked", "overlapping", "share", "example"])


def _texts(row):
    """Every text of a row: its columns, and the members of those that are lists."""
    for name, value in row.items():
        if name not in ("id", "label", "pair"):
            yield from (value if isinstance(value, list) else [value])


def _grams(words, n):
    return (tuple(words[i : i + n]) for i in range(len(words) - n + 1))
