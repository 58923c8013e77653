"""Duplicates, and training text that repeats evaluation text: word for word, or as a paraphrase."""

import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from blossom.text.language import keep_letters, language_of
from blossom.text.rows import read_rows, read_values, split_source

RUN = {"ko": 16, "en": 48}  # letters in a row that two texts share only by copying (16 syllables are 48 bytes too)
SHINGLE = 5  # characters
PARAPHRASE = 0.35  # cosine; 4 of 128 authored prompts are listed, no paraphrase; 8 old ones that were had 0.37 to 0.82


class _RunIndex:
    """Finds the texts that share a run of letters (texts are str) or of words (texts are tuples) with a new text."""

    def __init__(self):
        self.runs = defaultdict(lambda: defaultdict(set))  # width -> run -> keys

    def add(self, key, text, width):
        """Index all runs of `width` letters or words, or the whole text when it is shorter."""
        width = min(width, len(text))
        for i in range(len(text) - width + 1):
            self.runs[width][text[i : i + width]].add(key)

    def find(self, text):
        """Yield (key, run) for every indexed run in `text`."""
        for width, known in self.runs.items():
            for i in range(len(text) - width + 1):
                run = text[i : i + width]
                yield from ((key, run) for key in known.get(run, ()))


def find_copies(examples, evaluation):
    """The (prompt, output) pairs with evaluation text (RUN letters in a row, or a whole prompt): dict index -> its names."""
    index, whole = _RunIndex(), defaultdict(list)
    for name, texts in evaluation.items():
        for text in texts:
            letters, width = _letters(text), RUN["ko" if language_of(text) == "ko" else "en"]
            if len(letters) < width:
                whole[letters].append(name)
            else:
                index.add(name, letters, width)
    found = {}
    for n, (prompt, output) in enumerate(examples):
        prompt, output = _letters(prompt), _letters(output)
        copied = [name for text in (prompt, output) for name, _ in index.find(text)]
        if names := [*dict.fromkeys([*whole.get(prompt, ()), *copied])]:
            found[n] = names
    return found


def find_paraphrases(prompts, evaluation):
    """Find prompts that ask nearly the same as an evaluation text, for a person to judge.

    evaluation  dict name -> list of texts; each text of three words or more is compared with the prompt most similar to it
    return      DataFrame, most similar first: prompt (its index), evaluation (its name), text, similarity (cosine)
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = {}  # text -> the first evaluation that has it
    for name, listed in evaluation.items():
        for text in listed:
            if len(text.split()) > 2:
                names.setdefault(text, name)
    texts, rows = list(names), []
    if prompts and texts:
        most = max(10, int(0.05 * (len(prompts) + len(texts))))  # n-grams in more texts say nothing
        grams = dict(analyzer="char_wb", ngram_range=(2, 3), sublinear_tf=True, max_df=most, dtype=np.float32)
        vectors = TfidfVectorizer(**grams).fit_transform([*prompts, *texts])
        ours, theirs = vectors[: len(prompts)], vectors[len(prompts) :]
        for start in range(0, len(texts), 256):  # in blocks: the product is nearly dense
            alike = (theirs[start : start + 256] @ ours.T).toarray()
            for n in np.flatnonzero(alike.max(1) >= PARAPHRASE):
                text = texts[start + n]
                rows.append([int(alike[n].argmax()), names[text], text, round(float(alike[n].max()), 2)])
    found = pd.DataFrame(rows, columns=["prompt", "evaluation", "text", "similarity"])
    return found.sort_values("similarity", ascending=False, ignore_index=True)


def measure_overlap(prepared, lines, words=8):
    """Share of each benchmark's items that have a run of `words` words in common with the training text.

    prepared  tasks with `name` and `rows` (dicts);  lines  the training text, read once
    return    DataFrame: task, items, checked (with a text of 4 words or more), overlapping, share (of checked), example
    """
    index, found = _RunIndex(), {}  # (task, number of an item that is checked) -> the words in common, or ""
    for task in prepared:
        for n, row in enumerate(task.rows):
            for text in _strings({k: v for k, v in row.items() if k not in ("id", "guid")}):
                if len(text := _words(text)) >= 4:  # shorter texts occur anywhere
                    found[task.name, n] = ""
                    index.add((task.name, n), text, words)
    for line in lines:
        for key, run in index.find(_words(line)):
            found[key] = found[key] or " ".join(run)
    rows = []
    for task in prepared:
        checked = [found[task.name, n] for n in range(len(task.rows)) if (task.name, n) in found]
        hits = list(filter(None, checked))
        share = len(hits) / len(checked) if checked else 0.0
        rows.append([task.name, len(task.rows), len(checked), len(hits), share, hits[0] if hits else ""])
    return pd.DataFrame(rows, columns=["task", "items", "checked", "overlapping", "share", "example"])


def near_duplicates(texts, near, *more):
    """Find the texts like an earlier text (Jaccard of shingles >= `near`), in `more` too: dict index -> its index."""
    frequency = Counter(shingle for text in texts for shingle in _shingles(text))
    holders, found = defaultdict(list), {}  # shingle -> the texts that have it among their rarest
    for n in range(len(texts)):
        own = _shingles(texts[n])
        # similar texts share one of the rarest 1 - near of their shingles (prefix filtering, Chaudhuri et al. 2006)
        rarest = sorted(own, key=lambda s: (frequency[s], s))[: len(own) - int(near * len(own)) + 1]
        for other in sorted({m for shingle in rarest for m in holders[shingle]}):
            pairs = ((own if one is texts else _shingles(one[n]), _shingles(one[other])) for one in (texts, *more))
            if all(len(a & b) >= near * len(a | b) for a, b in pairs):
                found[n] = other
                break
        else:
            for shingle in rarest:
                holders[shingle].append(n)
    return found


def _shingles(text):
    return {text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))}


def read_evaluation_texts(sources):
    """Read every string of ten letters or more in assets, hub sets, files and folders: dict file name -> list."""
    found = {}
    for name, part in (pair for source in sources for pair in split_source(source)):
        values = read_rows(part) if part.startswith("hub:") else read_values(Path(part), table=True)
        texts = _strings([value for _, value in values])
        found.setdefault(name, []).extend(text for text in texts if len(_letters(text)) >= 10)
    return found


def _strings(value):
    if isinstance(value, str):
        yield unicodedata.normalize("NFC", value)  # as texts and instructions are
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def fold_letters(line):
    """The letters of a line in lower case (or the line when it has none), to compare lines: "Set 5 °C!" -> "setc"."""
    return keep_letters(line) or line


def _letters(text):
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def _words(text):
    return tuple(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower()))
