"""Contamination: how much of each task's items stands, word for word, in the text that a run trained on."""

import re
import zlib
from collections import defaultdict

import numpy as np
import pandas as pd

from blossom.text.language import language_of
from blossom.text.rows import find_source, parse_json, read_lines, read_rows

RUN = {"ko": 16, "en": 48}  # letters in a row that two texts share only by copying (16 syllables are 48 bytes too)
PERMUTATIONS, BANDS = 64, 16  # MinHash: pairs of similarity 0.8 meet in some band with probability 0.9998
SHINGLE = 5  # characters

SHORTEST = 4  # words; shorter texts occur anywhere
WORD = re.compile(r"[^\W_]+")


def measure_overlap(prepared, lines, words=8):
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


def near_duplicates(texts, near):
    """Which texts are nearly an earlier one: dict index -> index of that earlier one.

    near  Jaccard similarity of the sets of 5-character shingles, 0 to 1
    Candidates come from MinHash bands (Broder 1997), so that a hundred thousand texts take minutes; each is then checked
    exactly.
    """
    rng = np.random.default_rng(0)
    factor, shift = (rng.integers(1, 1 << 31, (PERMUTATIONS, 1), dtype=np.uint64) for _ in range(2))
    buckets, found = defaultdict(list), {}
    for n, text in enumerate(texts):
        hashes = np.array([zlib.crc32(s.encode()) for s in _shingles(text)], dtype=np.uint64)  # (S,)
        signature = ((factor * hashes + shift) % np.uint64(4294967311)).min(axis=1)  # (PERMUTATIONS,)
        keys = [(band, part.tobytes()) for band, part in enumerate(np.split(signature, BANDS))]
        for other in sorted({o for key in keys for o in buckets[key]}):
            a, b = _shingles(text), _shingles(texts[other])
            if len(a & b) >= near * len(a | b):
                found[n] = other
                break
        else:
            for key in keys:
                buckets[key].append(n)
    return found


def _shingles(text):
    return {text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))}


def find_copies(examples, evaluation):
    """Which (prompt, output) pairs hold evaluation text: dict index -> name of the evaluation.

    A pair does when it shares a run of 48 letters (16 syllables in Korean) with an evaluation text, or when its prompt is
    a whole, shorter one.
    """
    runs, whole = {"ko": {}, "en": {}}, {}
    for name, texts in evaluation.items():
        for text in texts:
            letters, language = _letters(text), "ko" if language_of(text) == "ko" else "en"
            width = RUN[language]
            if len(letters) < width:
                whole.setdefault(letters, name)
            for i in range(len(letters) - width + 1):
                runs[language].setdefault(letters[i : i + width], name)
    found = {}
    for n, example in enumerate(examples):
        asked, told = map(_letters, example)
        name = whole.get(asked) or _copied(asked, runs) or _copied(told, runs)
        if name:
            found[n] = name
    return found


def _copied(letters, runs):
    """The evaluation that some run of `letters` is copied from; None when there is none."""
    for language, width in RUN.items():
        for i in range(len(letters) - width + 1):
            if name := runs[language].get(letters[i : i + width]):
                return name
    return None


def read_evaluation_texts(sources):
    """The texts models are scored with: dict file name -> list of str.

    sources  asset names, "hub:..." as for `read`, files (.json, .jsonl, .tsv, .txt) or folders; every string in them of
             ten letters or more counts
    Raises ValueError or RuntimeError when a source is not there.
    """
    found = {}
    for source in sources:
        if source.startswith("hub:"):
            found[source] = [t for _, row in read_rows(source) for t in _strings(row)]
            continue
        path = find_source(source)
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix.lower() in (".json", ".jsonl", ".tsv", ".txt"):
                found[str(file.relative_to(path if path.is_dir() else path.parent))] = list(_file_strings(file))
    return {name: [t for t in texts if len(_letters(t)) >= 10] for name, texts in found.items()}


def _file_strings(file):
    lines, suffix = read_lines(file), file.suffix.lower()
    if suffix == ".json":
        yield from _strings(parse_json("\n".join(lines), file))
    elif suffix == ".jsonl":
        for n, line in enumerate(lines, 1):
            if line.strip():
                yield from _strings(parse_json(line, f"{file}, line {n}"))
    else:
        yield from (text for line in lines for text in line.split("\t"))


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _letters(text):
    return "".join(c for c in text.casefold() if c.isalnum())


def fold_letters(line):
    """What two near-equal lines share: letters alone, lower case. Example: "Set 5 °C!" -> "setc"."""
    letters = "".join(c for c in line.casefold() if c.isalpha())
    return letters or line
