"""The texts of a run: normalised, deduplicated, with lines held out that training never sees."""

import hashlib
import heapq
import itertools
import random
import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from blossom.assets import aihub, registry
from blossom.text import language, leaks
from blossom.text.rows import KOREAN_NAMES, find_files, is_header, read_rows, read_values

CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")  # control characters, surrogates
COMMON_SCRIPT = 0.2  # least share of letters in scripts that two texts of one language share; Korean may have much Latin


class Lines:
    """The training lines of some sources. Each pass reads the sources again, so they may be larger than memory."""

    def __init__(self, keeps):
        self.keeps = keeps  # source -> bool array, one value a line

    def __iter__(self):
        for source, keep in self.keeps.items():
            yield from itertools.compress(read_documents(source), keep)

    def __len__(self):
        return sum(int(keep.sum()) for keep in self.keeps.values())

    def __getitem__(self, part):
        return list(itertools.islice(self, *part.indices(len(self))))

    def of(self, source):
        return Lines({source: self.keeps[source]})


@dataclass
class Corpus:
    """The lines (documents) of a run."""

    korean: Lines  # for training
    english: Lines
    heldout_korean: list  # from the same sources, never trained on
    heldout_english: list
    general_korean: list  # from other sources, never trained on
    general_english: list
    removed: dict  # reason -> number of lines left out

    def heldout(self):
        """The four texts that bits per byte is measured on: dict name -> lines."""
        names = ("heldout_korean", "heldout_english", "general_korean", "general_english")
        return {name.removeprefix("heldout_"): getattr(self, name) for name in names}


def read_corpus(p):
    """Read the texts that the parameters `p` name: normalised, without duplicates, with lines held out.

    The lines with the smallest hashes are held out, so that adding text changes few of them. A training line that equals a
    held-out or general line except for case, digits and punctuation is removed. Memory: about 75 bytes a different line.
    ValueError names a source that is missing, empty, not UTF-8 or too small, and general text in another script.
    """
    removed = {}
    general_ko, general_en = list(read_documents(p.general_korean)), list(read_documents(p.general_english))
    never = {leaks.fold_letters(line) for line in general_ko + general_en}
    found = {name: _find_first(getattr(p, name), p.heldout_lines) for name in ("korean_texts", "english_texts")}
    heldout_ko, heldout_en = (heldout for _, heldout, _ in found.values())
    check_script(p, "general_korean", general_ko, "korean_texts", heldout_ko)
    check_script(p, "general_english", general_en, "english_texts", heldout_en)
    never |= {leaks.fold_letters(line) for line in heldout_ko + heldout_en}
    korean, english = (_choose_training(name, keeps, p, never, empty, removed) for name, (keeps, _, empty) in found.items())
    return Corpus(korean, english, heldout_ko, heldout_en, general_ko, general_en, removed)


def check_script(p, name, lines, corpus, heldout):
    """Raise ValueError where lines of parameter `name` are in other scripts than `heldout`, lines of parameter `corpus`."""
    own, other = both = language.name_scripts(lines), language.name_scripts(heldout)
    if own and other and sum(min(own[script], other[script]) for script in own.keys() & other) < COMMON_SCRIPT:
        first, second = (" and ".join(s.title() for s in found if found[s] >= COMMON_SCRIPT) for found in both)
        told = f"{name}: {getattr(p, name)} has {first} letters, {corpus} {getattr(p, corpus)} hold {second}"
        raise ValueError(f"{told}: expected one language; set {name} to unseen text in the language of {corpus}")


def _choose_training(name, keeps, p, never, empty, removed):
    sources, heldout, training = getattr(p, name), p.heldout_lines, Lines(keeps)
    unique = len(training)
    if unique < 2 * heldout:
        told = f"{name}: {sources} hold {unique} different lines; holding out {heldout} needs {2 * heldout}"
        raise ValueError(f"{told}: give more text, or lower heldout_lines")
    for source, keep in keeps.items():
        for i, line in enumerate(read_documents(source)):
            keep[i] = keep[i] and leaks.fold_letters(line) not in never
    if empty:
        removed[f"{name}: without text"] = empty
        print(f"{name}: rows left out, which have no text: {empty:,}")
    removed[f"{name}: duplicate"] = sum(map(len, keeps.values())) - unique
    removed[f"{name}: like a held-out line"] = unique - heldout - len(training)
    if not training:
        raise ValueError(f"{name}: nothing is left of {sources} to train on")
    return training


def _find_first(sources, heldout):
    """(source -> bool array, True where a line occurs first; the `heldout` lines of smallest hash; rows without text)"""
    seen, keeps, smallest, empty = set(), {}, [], []  # smallest: a heap of (-hash, -number, line), the largest hash on top
    for source in dict.fromkeys(sources):
        first = bytearray()
        for line in read_documents(source, empty):
            digest = hashlib.sha256(line.encode()).digest()
            first.append(digest[:8] not in seen)
            if first[-1]:
                seen.add(digest[:8])
                entry = (-int.from_bytes(digest), -len(seen), line)
                (heapq.heappush if len(smallest) < heldout else heapq.heappushpop)(smallest, entry)
        keeps[source] = np.frombuffer(first, dtype=bool).copy()
    return keeps, [line for _, _, line in sorted(smallest, key=lambda entry: -entry[1])], len(empty)


def normalise_text(text):
    """Normalise to NFC, make runs of white space one space, and remove control characters and surrogates."""
    return " ".join(CONTROL.sub("", unicodedata.normalize("NFC", text)).split())


def read_documents(source, left_out=None):
    """Yield the lines (documents) of a source in order, normalised and without empty ones; ValueError names a bad source.

    source    an asset ("aligned-ko"), "hub:...", or a file or folder; docs/data.md says which files are read
    left_out  a list that gets the source once for each of its rows whose text is null
    """
    found = False
    for line in _raw_documents(source):
        if line is None and left_out is not None:
            left_out.append(source)
        if line := normalise_text(line or ""):
            found = True
            yield line
    if not found:
        raise ValueError(f"{source}: holds no text")


def _raw_documents(source):
    asset, side = registry.SIDES.get(source, (source, None))
    if isinstance(side, str):
        yield from (row[side] for _, row in read_rows(asset) if side in row)
    elif source.startswith("hub:"):
        yield from (_text_field(row, place) for place, row in read_rows(source))
    else:
        for file in find_files(asset):
            yield from _file_documents(file, side)


def _file_documents(file, column):
    """The texts of a file; column: of a table without a header line, else the column `text`, or of a .tsv file the first."""
    name = file.name.lower().removesuffix(".gz")
    width, read = 0, aihub.read_document if name.endswith((".json", ".zip", ".xlsx")) else _text_field
    given = column is not None
    for n, (place, value) in enumerate(read_values(file)):
        if not isinstance(value, list):
            yield value if isinstance(value, str) else read(value, place)
            continue
        if column is None:
            names = [name.strip().lower() for name in value]
            column, width = (names.index("text"), len(value)) if "text" in names else (0, 0)
            if width:
                continue
            if name.endswith(".csv") or is_header(value) or not KOREAN_NAMES.isdisjoint(value):
                told = f"expected a column 'text', found {', '.join(value)}"
                raise ValueError(f"{place}: {told[:200]}: rename the column that has the texts, or begin with a sentence")
        if n < 2 and not (given or width) and len(value) > 1 and re.fullmatch(r"\S*\d\S*", value[0].strip()):
            told = "has no line of known names, and its first column has numbers or ids"
            raise ValueError(f"{place}: a table that {told}: give it one, in which the texts' column is called text")
        if len(value) <= column or (width and len(value) != width):
            told = f"expected {width or column + 1} columns, found {len(value)}"
            raise ValueError(f"{place}: {told}: put a text that has a comma in quotes")
        yield value[column]


def _text_field(row, place):
    if not isinstance(row.get("text", 0), str | None):
        raise ValueError(f"{place}: expected text in field 'text', found {str(row)[:60]}")
    return row["text"]


def utf8_bytes(lines):
    return sum(len(line.encode()) for line in lines)


def draw_evenly(rows, count, seed=0, name=""):
    """`count` of the rows (0: all) in order, each drawn from its own stretch of the list, so that no part is missing."""
    if not count or count >= len(rows):
        return rows
    rng, edges = random.Random(f"{seed} {name}"), [n * len(rows) // count for n in range(count + 1)]
    return [rows[rng.randrange(*stretch)] for stretch in itertools.pairwise(edges)]


def draw_bytes(lines, size):
    """Lines drawn from all parts of a text, with at most `size` bytes of UTF-8 together; of a longer one, its beginning."""
    count = min(len(lines), 1 + size * len(lines) // max(1, utf8_bytes(lines)))
    drawn = (draw_evenly(lines, n) for n in range(count, 0, -1))
    few = next((some for some in drawn if utf8_bytes(some) <= size), [])
    return few or [line.encode()[:size].decode(errors="ignore") or line[0] for line in lines[:1]]
