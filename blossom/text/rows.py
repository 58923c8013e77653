"""Read the texts and rows of files and hub sets; each comes with its file and line for error messages."""

import csv
import gzip
import mimetypes
import os
import re
import zlib
from functools import partial
from itertools import islice
from pathlib import Path

from blossom.assets.aihub import list_rows, read_archive, read_sheet
from blossom.assets.registry import REGISTRY, fetch_asset, fetch_url
from blossom.common import paths
from blossom.text.hub import read_hub_rows

TABLES = (".tsv", ".csv")
HEADER = re.compile(r"[A-Z_]\w*(\t\w+)+", re.ASCII | re.IGNORECASE)  # a line of column names
FIELD = re.compile(r"\w+(?:[ ./(-]{1,2}\w+){0,3}\)?")  # of up to four words: "기사-제목", "본문 (한글)"
TOLD = paths.read_yaml_beside(__file__)
KOREAN_NAMES, ENGLISH_NAMES = (set(words.split()) for words in TOLD["columns"])
WRONG = {mark.encode(): what for mark, what in TOLD["wrong"].items()}
TYPES = mimetypes.MimeTypes()  # Python's own table, without the system's
for known, suffixes in TOLD["foreign"].items():
    TYPES.types_map[False].update(dict.fromkeys(f".{suffixes}".replace(" ", " .").split(), known))
csv.field_size_limit(2**31 - 1)  # a document may be one field
INSIDE = re.compile(r'(?:[^"\t]|"")*+')  # of a field in quotation marks, which has no tab
OPENS, CLOSES = re.compile(f'"{INSIDE.pattern}'), re.compile(INSIDE.pattern + r'"(?=\t|$)')
LONGEST = 200_000_000  # bytes of a line
ABOUT = re.compile(r"(LICEN[CS]E|README|\w+SUMS)\.(txt|md)", re.IGNORECASE)  # what archives say about their data
FOREIGN = re.compile(rf"\s*<|#!|//|/\*|#include\b|\w.*[;{{]$|.*{paths.CONTROL.pattern.decode()}")  # code, markup, binary


def find_files(source):
    """The files of an asset, an https:// address, a file or a folder (relative to the repository's root), in order.

    Hidden files and descriptions in a folder are left out. ValueError when there is none, or one is no regular file.
    """
    if source.startswith("https://"):
        return [fetch_url(source)]
    if not source.strip():
        raise ValueError("expected the name of a text or a set of rows, found an empty one")
    path = fetch_asset(source) if source in REGISTRY else paths.find_path(paths.ROOT / Path(source).expanduser())
    if not path.exists():
        raise ValueError(f"{source}: no such asset, file or folder (looked for {path})")
    return [file for file in paths.list_files(path) if file == path or not ABOUT.fullmatch(file.name)]


def split_source(source):
    """(name, source) of each set in a source: a hub set, or a file, named within the folder that the source is."""
    if source.startswith("hub:"):
        return [(source, source)]
    files = find_files(source)
    folder = os.path.commonpath([file.parent for file in files]) if files else ""
    return [(str(file.relative_to(folder)), str(file)) for file in files]


def read_lines(file):
    """Yield (place, line) of a UTF-8 file, maybe packed (.gz), without line ends and BOM; ValueError names a bad line."""
    name = str(file)
    try:
        with gzip.open(file) if file.suffix.lower() == ".gz" else open(file, "rb") as stream:
            start = stream.peek(8192)
            if wrong := next((what for mark, what in WRONG.items() if re.search(mark, start)), ""):
                raise ValueError(f"{name}: {wrong}")
            for number, line in enumerate(iter(partial(stream.readline, LONGEST), b""), 1):
                place = f"{name}, line {number}"
                if len(line) == LONGEST:
                    raise ValueError(f"{place}: longer than {LONGEST:,} bytes: put one document on a line")
                yield place, paths.decode_text(line, place, start).rstrip("\r\n")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file}: not a whole .gz file ({error})") from None


def read_values(file, table=False, quoted=False):
    """Yield (place, value) for all that a file holds; place is "file, line n" for error messages.

    table    whether a .txt file is a table too;  quoted  whether the fields of such a table and a .tsv may be in quotes
    value    a line of text (str), a line of a table (list), or a row (dict) of JSON, Parquet, a sheet or an AI-Hub export
    """
    kind = _find_kind(file)
    if kind in TABLES or (table and kind == ".txt"):
        yield from _read_table(file, kind, quoted)
    elif kind == ".txt":
        yield from read_lines(file)
    else:
        for place, row in READERS[kind](file):
            if not isinstance(row, dict):
                raise ValueError(f"{place}: expected an object with fields, found {str(row)[:60]!r}")
            yield place, row


def read_rows(source, columns=(), quoted=False):
    """Yield (place, row) for every row of a set: place is "file, line n" for error messages, row a dict.

    source   asset name, file or folder (docs/data.md says which are read), https:// address, or "hub:..."
    columns  names of the first columns of a table, unless a header line names them;  quoted  as in `read_values`

    A line of a .txt file that is no table is a row with the field `text`.
    """
    if source.startswith("hub:"):
        parts = [((f"{source}, row {n}", row) for n, row in enumerate(read_hub_rows(source), 1))]
    else:
        parts = (read_values(file, bool(columns), quoted) for file in find_files(source))
    for part in parts:
        header = None
        for place, value in part:
            if isinstance(value, dict):
                if columns:  # the hub's pairs may be in a field of their own
                    value = value["translation"] if isinstance(value.get("translation"), dict) else value
                    value = dict(zip(_plain_names(value), value.values(), strict=True))
                yield place, value
            elif isinstance(value, str):
                yield from [(place, {"text": value})] if value.strip() else ()
            elif header is None and set(columns) <= set(_plain_names(value)):  # the first line has names
                header = _plain_names(value) if columns else value
            else:
                if header is None and is_header(value):
                    raise ValueError(f"{place}: expected columns {', '.join(columns)}, found {', '.join(value)[:200]}")
                header = header or list(columns)
                if len(value) < len(header) or (len(value) > len(header) and not columns):
                    raise ValueError(f"{place}: expected {len(header)} columns, found {len(value)}")
                yield place, dict(zip(header, value, strict=False))


def _plain_names(names):
    return [TOLD["names"].get(name, name) for name in (str(name).strip().lower() for name in names)]


def is_header(values):
    """Whether the first line of a table, a list of str, has names of columns; "Korean food" alone may be a first row's."""
    words = [set(re.split(r"[\W_]+", value.lower())) for value in values if FIELD.fullmatch(value)]
    korean, english = (sum(not own.isdisjoint(names) for own in words) for names in (KOREAN_NAMES, ENGLISH_NAMES))
    return bool(HEADER.fullmatch("\t".join(values))) or (len(values) > 1 and (korean > 0 or english > 1))


def _find_kind(file):
    """The kind of a file (of READERS, of TABLES, or .txt), by its suffix and, where that says nothing, by its first line."""
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    if suffix in READERS or suffix in TABLES:
        return suffix
    known = next(filter(None, TYPES.guess_type(f"a{suffix}", strict=False)), "") if suffix != ".txt" else ""
    if not known:
        first = next((line for _, line in read_lines(file) if line.strip()), "")
        if suffix == ".txt" or not FOREIGN.match(first):
            if is_header(first.split("\t")) or re.match(r"\d+\t", first):
                return ".tsv"
            if ", " not in first and is_header(first.split(",")):  # with a space, a sentence
                return ".csv"
            is_json = re.match(r'\s*(\{\s*".*\}\s*$|\[\s*(\{|$))' if suffix == ".txt" else r'\s*(\{|\[\s*([\[{"]|$))', first)
            return ".txt" if not is_json else ".jsonl" if first.rstrip().endswith("}") else ".json"
    told = "expected a .json, .jsonl, .ndjson, .tsv, .csv, .txt (or these as .gz), .parquet, .zip or .xlsx file"
    raise ValueError(f"{file}: {told}, found {known or 'code, markup or a binary file'}: convert it, or move it away")


def _read_json_lines(file):
    return ((place, paths.parse_json(line, place, strict=False)) for place, line in read_lines(file) if line.strip())


def _read_json(file):
    first = islice((line.strip() for _, line in read_lines(file) if line.strip()), 2)
    if re.match(r"\{.*\}\n\{", "\n".join(first)):  # an object a line
        return _read_json_lines(file)
    text = "\n".join(line for _, line in read_lines(file))
    return list_rows(paths.parse_json(text, file, strict=False), file)


def _read_parquet(file):
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        batches = ParquetFile(file).iter_batches(1000)
        yield from ((f"{file}, row {n}", row) for n, row in enumerate((row for b in batches for row in b.to_pylist()), 1))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{file}: not a whole .parquet file ({str(error)[:200]})") from None


def _join_lines(lines):
    """The lines of a .tsv, those of one field in quotation marks as one; a mark that none closes is a character."""
    held = []  # a line whose last field opens, and the lines after it
    for place, line in lines:
        if held and CLOSES.match(line):
            place, line, held = held[0][0], "\n".join([*(text for _, text in held), line]), []
        elif len(held) > 10_000 or not INSIDE.fullmatch(line):
            yield from held
            held = []
        if held or OPENS.fullmatch(line.rpartition("\t")[2]):
            held.append((place, line))
        else:
            yield place, line
    yield from held


def _read_table(file, kind, quoted):
    if kind != ".csv" and not quoted:
        for place, line in _join_lines(read_lines(file)) if kind == ".tsv" else read_lines(file):
            if values := line.split("\t") if line else ():  # pandas and Excel write a field that has a " between two of them
                yield place, [v[1:-1].replace('""', '"') if v[:1] == '"' and CLOSES.fullmatch(v, 1) else v for v in values]
        return
    delimiter = "," if kind == ".csv" else "\t"
    lines = csv.reader((line + "\n" for _, line in read_lines(file)), delimiter=delimiter, strict=kind == ".csv")
    try:
        for values in filter(None, lines):
            if kind != ".csv" and any("\n" in value for value in values):
                raise csv.Error("a field's quotation mark is not closed in its line")
            yield f"{file}, line {lines.line_num}", values
    except csv.Error as error:
        raise ValueError(f"{file}, line {lines.line_num}: not a {kind} table ({error})") from None


READERS = {".json": _read_json, ".parquet": _read_parquet, ".zip": read_archive, ".xlsx": read_sheet}
READERS |= dict.fromkeys((".jsonl", ".ndjson"), _read_json_lines)
