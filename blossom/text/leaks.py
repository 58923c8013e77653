"""Duplicates, and training text that repeats evaluation text: word for word, or as a paraphrase."""

import re
import zlib
from collections import defaultdict

import numpy as np
import pandas as pd

from blossom.text.language import language_of
from blossom.text.rows import find_source, read_lines, read_rows

RUN = {"ko": 16, "en": 48}  # letters in a row that two texts share only by copying (16 syllables are 48 bytes too)
SHORTEST = 4  # words of a benchmark's text; shorter texts occur anywhere
SHINGLE = 5  # characters
PERMUTATIONS, BANDS = 64, 16  # MinHash: pairs of similarity 0.8 share a band with probability 0.9998
PARAPHRASE = 0.35  # cosine; of 53,760 pairs of an authored prompt and instruction, 12 are listed, 7 paraphrases
COMMON = 0.05  # n-grams in more than this share of the texts say nothing


class RunIndex:
    """Finds the texts that share a run of units with a new text; a text is a str (of letters) or a tuple of words.

    add(key, text, width)  remember all runs of `width` units; of a shorter text, the whole of it
    find(text)             yields (key, run) for every run of `text` that was added
    """

    def __init__(self):
        self.runs = defaultdict(lambda: defaultdict(set))  # width -> run -> keys

    def add(self, key, text, width):
        for run in self._runs(text, min(width, len(text))):
            self.runs[len(run)][run].add(key)

    def find(self, text):
        for width, known in self.runs.items():
            for run in self._runs(text, width):
                yield from ((key, run) for key in known.get(run, ()))

    @staticmethod
    def _runs(text, width):
        return (text[i : i + width] for i in range(len(text) - width + 1))


def find_copies(examples, evaluation):
    """Which (prompt, output) pairs hold evaluation text: dict index -> name of the evaluation.

    evaluation  dict name -> list of texts

    A pair does when it shares a run of 48 letters (16 in Korean) with an evaluation text, or when its prompt is a whole,
    shorter one.
    """
    index, whole = RunIndex(), {}
    for name, texts in evaluation.items():
        for text in texts:
            letters, width = _letters(text), RUN["ko" if language_of(text) == "ko" else "en"]
            if len(letters) < width:
                whole.setdefault(letters, name)
            else:
                index.add(name, letters, width)
    found = {}
    for n, (prompt, output) in enumerate(examples):
        prompt, output = _letters(prompt), _letters(output)
        copied = (name for text in (prompt, output) for name, _ in index.find(text))
        if name := whole.get(prompt) or next(copied, None):
            found[n] = name
    return found


def find_paraphrases(prompts, evaluation, least=PARAPHRASE):
    """Prompts that ask nearly the same as an evaluation text, for the reader's eye: some only sound alike.

    prompts     list of str;  evaluation  dict name -> list of texts;  least  similarity from which a pair is listed
    return      DataFrame, most alike first: prompt (its index), evaluation (its name), text, similarity

    Similarity is the cosine of TF-IDF vectors of character bigrams and trigrams within words, which sees through Korean
    endings. Of each evaluation text with three words or more, the most similar prompt is compared.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = list(dict.fromkeys(text for listed in evaluation.values() for text in listed if len(text.split()) > 2))
    names = {text: name for name, listed in reversed(evaluation.items()) for text in listed}
    rows = []
    if prompts and texts:
        every = [*prompts, *texts]
        most = max(10, int(COMMON * len(every)))
        vectorizer = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 3), sublinear_tf=True, max_df=most, dtype=np.float32
        )
        vectors = vectorizer.fit_transform(every)
        ours, theirs = vectors[: len(prompts)], vectors[len(prompts) :]
        for start in range(0, len(texts), 256):  # in blocks: the product is nearly dense
            alike = (theirs[start : start + 256] @ ours.T).toarray()
            for n in np.flatnonzero(alike.max(1) >= least):
                text = texts[start + n]
                rows.append([int(alike[n].argmax()), names[text], text, round(float(alike[n].max()), 2)])
    found = pd.DataFrame(rows, columns=["prompt", "evaluation", "text", "similarity"])
    return found.sort_values("similarity", ascending=False, ignore_index=True)


def measure_overlap(prepared, lines, words=8):
    """Share of each benchmark's items that have a run of words in common with the training text.

    prepared  tasks with `name` and `rows` (dicts)
    lines     iterable of str: what the run trained on; read once
    words     length of the run; a shorter text of an item counts when all of it occurs (from 4 words on)
    return    DataFrame: task, items, checked (items with a text long enough), overlapping, share (of the checked), example

    Words are compared in lower case without punctuation.
    """
    index, checked, hits = RunIndex(), defaultdict(set), defaultdict(dict)
    for task in prepared:
        for n, row in enumerate(task.rows):
            for text in strings_within({k: v for k, v in row.items() if k not in ("id", "guid")}):
                found = _words(text)
                if len(found) >= SHORTEST:
                    checked[task.name].add(n)
                    index.add((task.name, n), found, words)
    for line in lines:
        for (name, n), run in index.find(_words(line)):
            hits[name].setdefault(n, " ".join(run))
    rows = []
    for task in prepared:
        count, own = len(checked[task.name]), list(hits[task.name].values())
        share = len(own) / count if count else 0.0
        rows.append([task.name, len(task.rows), count, len(own), share, own[0] if own else ""])
    return pd.DataFrame(rows, columns=["task", "items", "checked", "overlapping", "share", "example"])


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
        own = _shingles(text)
        hashes = np.array([zlib.crc32(s.encode()) for s in own], dtype=np.uint64)  # (S,)
        signature = ((factor * hashes + shift) % np.uint64(4294967311)).min(axis=1)  # (PERMUTATIONS,)
        keys = [(band, part.tobytes()) for band, part in enumerate(np.split(signature, BANDS))]
        for other in sorted({o for key in keys for o in buckets[key]}):
            theirs = _shingles(texts[other])
            if len(own & theirs) >= near * len(own | theirs):
                found[n] = other
                break
        else:
            for key in keys:
                buckets[key].append(n)
    return found


def _shingles(text):
    return {text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))}


def read_evaluation_texts(sources):
    """The texts that models are scored with: dict file name -> list of str.

    sources  asset names, "hub:...", .json, .jsonl, .tsv or .txt files, or folders of them; every string in them of ten
             letters or more counts
    Raises ValueError with file and line: no such source, not UTF-8, not JSON.
    """
    found = {}
    for source in sources:
        if source.startswith("hub:"):
            found[source] = [text for _, row in read_rows(source) for text in strings_within(row)]
            continue
        path = find_source(source)
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix.lower() in (".json", ".jsonl", ".tsv", ".txt"):
                found[str(file.relative_to(path if path.is_dir() else path.parent))] = _file_strings(file)
    return {name: [t for t in texts if len(_letters(t)) >= 10] for name, texts in found.items()}


def _file_strings(file):
    if file.suffix.lower() in (".json", ".jsonl"):
        rows = (row for _, row in read_rows(str(file)))
    else:
        rows = (line.split("\t") for line in read_lines(file))
    return [text for row in rows for text in strings_within(row)]


def strings_within(value):
    """Every str in nested dicts and lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings_within(inner)


def fold_letters(line):
    """The letters of a line in lower case, to compare lines but for digits and punctuation: "Set 5 °C!" -> "setc"."""
    letters = "".join(c for c in line.casefold() if c.isalpha())
    return letters or line


def _letters(text):
    return "".join(c for c in text.casefold() if c.isalnum())


def _words(text):
    return tuple(re.findall(r"[^\W_]+", text.lower()))
