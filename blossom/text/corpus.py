"""The texts of a run: normalised, deduplicated, with lines held out that training never sees."""

import hashlib
import heapq
import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from blossom.assets.aihub import read_aihub_documents
from blossom.assets.registry import fetch_asset
from blossom.text.leaks import fold_letters
from blossom.text.rows import find_source, read_lines, read_rows

CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")  # control characters, surrogates
SUFFIXES = (".txt", ".jsonl", ".tsv", ".json", ".zip")  # what is read in a folder
ALIGNED = {  # one side of a TSV of pairs: (its asset, the column)
    "aligned-ko": ("aligned-en-ko", 1),
    "aligned-en": ("aligned-en-ko", 0),
    "aligned-ja": ("aligned-en-ja", 1),
    "aligned-ja-en": ("aligned-en-ja", 0),
}


class Lines(Sequence):
    """The lines of some sources that training may read. Each pass reads the sources anew, so that they may be larger than
    memory.

    parts  list of (source, keep): keep is a bool array with one value a line of the source
    """

    def __init__(self, parts):
        self.parts = parts

    def __iter__(self):
        return itertools.chain.from_iterable(itertools.compress(read_documents(source), keep) for source, keep in self.parts)

    def __len__(self):
        return sum(int(keep.sum()) for _, keep in self.parts)

    def __getitem__(self, place):
        if isinstance(place, slice):
            return list(itertools.islice(self, *place.indices(len(self))))
        return next(itertools.islice(self, range(len(self))[place], None))

    def __eq__(self, other):
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))


@dataclass
class Corpus:
    """The texts of a run: lines (documents).

    sources                            language ("korean", "english") -> source -> the Lines that training may read
    heldout_korean, heldout_english    lists, from the same sources, never trained on
    general_korean, general_english    lists, from outside the corpus, never trained on
    removed                            reason -> number of lines left out
    """

    sources: dict
    heldout_korean: list
    heldout_english: list
    general_korean: list
    general_english: list
    removed: dict = field(default_factory=dict)

    @property
    def korean(self):
        """All Korean that training may read, source after source."""
        return self.all("korean")

    @property
    def english(self):
        """All English that training may read, source after source."""
        return self.all("english")

    def all(self, language):
        """The Lines of all sources of "korean" or "english" together."""
        return Lines([part for lines in self.sources[language].values() for part in lines.parts])

    def heldout(self):
        """Name -> lines, the four texts that bits/byte is measured on."""
        names = ("heldout_korean", "heldout_english", "general_korean", "general_english")
        return {name.removeprefix("heldout_"): getattr(self, name) for name in names}


def read_corpus(p):
    """The corpus of a run, the same for every stage that has the same parameters.

    p  parameters with korean_texts, english_texts, heldout_lines, general_korean, general_english

    Held-out lines are those with the smallest hash, so that adding text moves few of them; a training line that equals a
    held-out or general line but for case, digits and punctuation is removed. Memory: about 75 bytes a different line.
    Raises ValueError: a source that is missing, empty, not UTF-8, or smaller than the lines to hold out.
    """
    removed = {}
    general_ko, general_en = list(read_documents(p.general_korean)), list(read_documents(p.general_english))
    never = {fold_letters(line) for line in general_ko + general_en}
    korean, heldout_ko = _split("korean_texts", p.korean_texts, p.heldout_lines, never, removed)
    english, heldout_en = _split("english_texts", p.english_texts, p.heldout_lines, never, removed)
    return Corpus({"korean": korean, "english": english}, heldout_ko, heldout_en, general_ko, general_en, removed)


def _split(name, sources, heldout, never, removed):
    """(source -> Lines to train on, held-out lines) of some sources, without duplicates and without the lines in `never`."""
    keeps, kept_out = _find_first(sources, heldout)
    count, unique = sum(map(len, keeps.values())), sum(int(keep.sum()) for keep in keeps.values())
    if unique < 2 * heldout:
        told = f"{name}: {sources} hold {unique} different lines; holding out {heldout} needs {2 * heldout}"
        raise ValueError(f"{told}: give more text, or lower heldout_lines")
    never = never | {fold_letters(line) for line in kept_out}
    for source, keep in keeps.items():
        for i, line in enumerate(read_documents(source)):
            keep[i] = keep[i] and fold_letters(line) not in never
    training = {source: Lines([(source, keep)]) for source, keep in keeps.items()}
    removed[f"{name}: duplicate"] = count - unique
    removed[f"{name}: like a held-out line"] = unique - heldout - sum(map(len, training.values()))
    if not any(map(len, training.values())):
        raise ValueError(f"{name}: nothing is left of {sources} to train on")
    return training, kept_out


def _find_first(sources, heldout):
    """(source -> bool a line: is it the first of its kind, the `heldout` lines with the smallest hashes in their order)."""
    seen, keeps, smallest = set(), {}, []  # smallest: a heap of (-hash, -number, line), the largest hash on top
    for source in dict.fromkeys(sources):
        first = bytearray()
        for line in read_documents(source):
            digest = hashlib.sha256(line.encode()).digest()
            first.append(digest[:8] not in seen)
            if first[-1]:
                seen.add(digest[:8])
                entry = (-int.from_bytes(digest), -len(seen), line)
                (heapq.heappush if len(smallest) < heldout else heapq.heappushpop)(smallest, entry)
        keeps[source] = np.frombuffer(first, dtype=bool).copy()
    return keeps, [line for _, _, line in sorted(smallest, key=lambda entry: -entry[1])]


def normalise_text(text):
    """NFC (Hangul as whole syllables), runs of white space as one space, no control characters, no surrogates."""
    return " ".join(CONTROL.sub("", unicodedata.normalize("NFC", text)).split())


def read_documents(source):
    """The lines (documents) of a source, normalised, empty ones skipped, in order.

    source  an asset ("aligned-ko"), a .txt, .jsonl (field `text`) or .tsv file (first column), a .json or .zip file of
            AI-Hub (see blossom.assets.aihub), a folder of such files, or "hub:..." (field `text`; see blossom.text.hub)

    Raises ValueError: no such source, a file that is not UTF-8 (with the line), a source without text.
    """
    found = False
    for line in _raw_documents(source):
        if line := normalise_text(line):
            found = True
            yield line
    if not found:
        raise ValueError(f"{source}: holds no text")


def _raw_documents(source):
    if source in ALIGNED:
        asset, column = ALIGNED[source]
        yield from (line.split("\t")[column] for line in read_lines(fetch_asset(asset)))
        return
    if source.startswith("hub:"):
        yield from _texts(source)
        return
    path = find_source(source)
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    for file in files:
        suffix = file.suffix.lower()
        if file.name.startswith("."):  # macOS puts ._name beside a file
            continue
        if suffix in (".json", ".zip"):
            yield from read_aihub_documents(file)
        elif suffix == ".jsonl":
            yield from _texts(str(file))
        else:
            yield from (line.split("\t")[0] if suffix == ".tsv" else line for line in read_lines(file))


def _texts(source):
    for place, row in read_rows(source):
        if not isinstance(row.get("text"), str):
            raise ValueError(f"{place}: expected text in field 'text', found {str(row)[:60]}")
        yield row["text"]


def utf8_bytes(lines):
    """Bytes of some lines in UTF-8, the unit in which models with different tokenizers are compared."""
    return sum(len(line.encode()) for line in lines)
