"""Text in, clean and split: normalised, deduplicated, with lines held out that training never sees."""

import hashlib
import heapq
import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from blossom.assets import aihub
from blossom.assets.registry import fetch_asset
from blossom.text.hub import load_hub_rows
from blossom.text.leaks import fold_letters
from blossom.text.rows import find_source, parse_json, read_lines

# all of category Cc that is no white space, and of Cs: halves of characters, which no file could hold
CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")
SUFFIXES = (".txt", ".jsonl", ".tsv", ".json", ".zip")  # what is read in a folder
ALIGNED = {  # one side of a TSV of pairs: (its asset, the column)
    "aligned-ko": ("aligned-en-ko", 1),
    "aligned-en": ("aligned-en-ko", 0),
    "aligned-ja": ("aligned-en-ja", 1),
    "aligned-ja-en": ("aligned-en-ja", 0),
}


class Lines(Sequence):
    """The lines of some sources that training may read. They are read anew at each pass, so a source may be larger than
    memory; one byte a line says which are kept.

    parts  list of (source, keep): keep (lines of the source,) bool
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
        """Name -> held-out lines, the four texts that bits/byte is measured on."""
        return {
            "korean": self.heldout_korean,
            "english": self.heldout_english,
            "general_korean": self.general_korean,
            "general_english": self.general_english,
        }


def read_corpus(p):
    """The corpus of a run, the same for every stage that has the same parameters.

    p  parameters with korean_texts, english_texts, heldout_lines, general_korean, general_english

    Held-out lines are those with the smallest hash, so adding text moves few lines across; a training line that
    equals a held-out line but for case, digits and punctuation is removed. Held in memory: about 75 bytes a different line
    while duplicates are looked for, one byte a line after, and the held-out lines.
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
    new, kept_out = _unique(sources, heldout)
    count, unique = sum(map(len, new.values())), sum(int(found.sum()) for found in new.values())
    if unique < 2 * heldout:
        told = f"{name}: {sources} hold {unique} different lines; holding out {heldout} needs {2 * heldout}"
        raise ValueError(f"{told}: give more text, or lower heldout_lines")
    guarded = never | {fold_letters(line) for line in kept_out}
    for source, keep in new.items():
        for i, line in enumerate(read_documents(source)):
            keep[i] = keep[i] and fold_letters(line) not in guarded
    training = {source: Lines([(source, keep)]) for source, keep in new.items()}
    removed[f"{name}: duplicate"] = count - unique
    removed[f"{name}: like a held-out line"] = unique - heldout - sum(map(len, training.values()))
    if not any(map(len, training.values())):
        raise ValueError(f"{name}: nothing is left of {sources} to train on")
    return training, kept_out


def _unique(sources, heldout):
    """(source -> bool a line: is it the first of its kind, the `heldout` lines with the smallest hashes in their order)."""
    seen, new, smallest = set(), {}, []  # smallest: a heap of (-hash, -number, line), the largest hash on top
    for source in dict.fromkeys(sources):
        first = bytearray()
        for line in read_documents(source):
            digest = hashlib.sha256(line.encode()).digest()
            first.append(digest[:8] not in seen)
            if first[-1]:
                seen.add(digest[:8])
                entry = (-int.from_bytes(digest), -len(seen), line)
                (heapq.heappush if len(smallest) < heldout else heapq.heappushpop)(smallest, entry)
        new[source] = np.frombuffer(first, dtype=bool).copy()
    return new, [line for _, _, line in sorted(smallest, key=lambda entry: -entry[1])]


def normalise_text(text):
    """NFC (Hangul as whole syllables), runs of white space as one space, no control characters, no half characters."""
    return " ".join(CONTROL.sub("", unicodedata.normalize("NFC", text)).split())


def read_documents(source):
    """The lines (documents) of a source, normalised, empty ones skipped, in order.

    source  an asset ("aligned-ko"), a .txt, .jsonl (field `text`) or .tsv file (first column), a .json or .zip file of
            AI-Hub (see assets.aihub), a folder of such files, or "hub:<dataset id>[:config]" (field `text`; kept on disk
            by `datasets`)

    Raises ValueError: no such source, a file that is not UTF-8 (with the line), a source without text.
    """
    found = False
    for line in _raw(source):
        if line := normalise_text(line):
            found = True
            yield line
    if not found:
        raise ValueError(f"{source}: holds no text")


def _raw(source):
    if source in ALIGNED:
        asset, column = ALIGNED[source]
        return (line.split("\t")[column] for line in read_lines(fetch_asset(asset)))
    if source.startswith("hub:"):
        return _hub_lines(source)
    path = find_source(source)
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
        return (line for file in files for line in _documents(file))
    return _documents(path)


def _documents(file):
    if file.suffix in (".json", ".zip"):
        yield from aihub.documents(file)
        return
    for number, line in enumerate(read_lines(file), 1):
        if file.suffix == ".jsonl":
            line = _text(line, f"{file}, line {number}")
        yield line.split("\t")[0] if file.suffix == ".tsv" else line


def _text(line, where):
    try:
        text = parse_json(line, where)["text"]
    except (ValueError, LookupError, TypeError):
        text = None
    if not isinstance(text, str):
        raise ValueError(f'{where}: expected {{"text": "..."}}, found {line[:60]!r}')
    return text


def _hub_lines(source):
    rows = load_hub_rows(source)
    if "text" not in rows.column_names:
        raise ValueError(f"{source}: no column 'text'; it has {', '.join(rows.column_names)}")
    return (row["text"] for row in rows)


def utf8_bytes(lines):
    """Bytes of some lines in UTF-8, the unit that models with different tokenizers are compared in."""
    return sum(len(line.encode()) for line in lines)
