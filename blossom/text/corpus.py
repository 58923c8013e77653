"""The texts of a run: normalised, deduplicated, with lines held out that training never sees."""

import hashlib
import heapq
import itertools
import re
import unicodedata
from dataclasses import dataclass

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


class Lines:
    """The lines of some sources that training may read. Each pass reads the sources anew, so that they may be larger than
    memory; a slice is a list.

    keeps  dict source -> bool array with one value a line of the source
    """

    def __init__(self, keeps):
        self.keeps = keeps

    def __iter__(self):
        for source, keep in self.keeps.items():
            yield from itertools.compress(read_documents(source), keep)

    def __len__(self):
        return sum(int(keep.sum()) for keep in self.keeps.values())

    def __getitem__(self, part):
        return list(itertools.islice(self, *part.indices(len(self))))

    def of(self, source):
        """The Lines of one of the sources."""
        return Lines({source: self.keeps[source]})


@dataclass
class Corpus:
    """The texts of a run: lines (documents).

    korean, english                    Lines that training may read
    heldout_korean, heldout_english    lists, from the same sources, never trained on
    general_korean, general_english    lists, from outside the corpus, never trained on
    removed                            reason -> number of lines left out
    """

    korean: Lines
    english: Lines
    heldout_korean: list
    heldout_english: list
    general_korean: list
    general_english: list
    removed: dict

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
    return Corpus(korean, english, heldout_ko, heldout_en, general_ko, general_en, removed)


def _split(name, sources, heldout, never, removed):
    """(Lines to train on, held-out lines) of some sources, without duplicates and without the lines in `never`."""
    keeps, kept_out = _find_first(sources, heldout)
    training = Lines(keeps)
    unique = len(training)
    if unique < 2 * heldout:
        told = f"{name}: {sources} hold {unique} different lines; holding out {heldout} needs {2 * heldout}"
        raise ValueError(f"{told}: give more text, or lower heldout_lines")
    never = never | {fold_letters(line) for line in kept_out}
    for source, keep in keeps.items():
        for i, line in enumerate(read_documents(source)):
            keep[i] = keep[i] and fold_letters(line) not in never
    removed[f"{name}: duplicate"] = sum(map(len, keeps.values())) - unique
    removed[f"{name}: like a held-out line"] = unique - heldout - len(training)
    if not training:
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
    elif source.startswith("hub:"):
        yield from _text_fields(source)
    else:
        path = find_source(source)
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if (path.is_file() or file.suffix.lower() in SUFFIXES) and not file.name.startswith("."):  # macOS writes ._name
                yield from _file_documents(file)


def _file_documents(file):
    suffix = file.suffix.lower()
    if suffix in (".json", ".zip"):
        return read_aihub_documents(file)
    if suffix == ".jsonl":
        return _text_fields(str(file))
    return (line.split("\t")[0] if suffix == ".tsv" else line for line in read_lines(file))


def _text_fields(source):
    for place, row in read_rows(source):
        if not isinstance(row.get("text"), str):
            raise ValueError(f"{place}: expected text in field 'text', found {str(row)[:60]}")
        yield row["text"]


def utf8_bytes(lines):
    """Bytes of some lines in UTF-8, the unit in which models with different tokenizers are compared."""
    return sum(len(line.encode()) for line in lines)
