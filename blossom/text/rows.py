"""Read lines and rows of files and hub sets; each row comes with its file and line for error messages."""

import csv
import json
from pathlib import Path

from blossom.assets.registry import REGISTRY, fetch_asset, fetch_url
from blossom.common import paths
from blossom.text.hub import read_hub_rows


def find_source(source):
    """The path of an asset, a file or a folder (relative to the repository's root); ValueError when there is none."""
    if source in REGISTRY:
        return fetch_asset(source)
    path = paths.ROOT / Path(source).expanduser()
    if not path.exists():
        raise ValueError(f"{source}: no such asset, file or folder (looked for {path})")
    return path


def read_lines(file):
    """Yield the lines of a UTF-8 file without line ends and BOM; ValueError names a line that is not UTF-8."""
    with open(file, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                told = f"not UTF-8 ({error.reason} at byte {error.start}). Korean files are often CP949"
                raise ValueError(f"{file}, line {number}: {told}: convert with `iconv -f cp949 -t utf-8`.") from None


def read_rows(source, columns=()):
    """Yield (place, row) for every row of a set: place is "file, line n" for error messages, row a dict.

    source   asset name, .json (a list of objects), .jsonl or .tsv file, its https:// address, or "hub:..."
    columns  names of the columns of a .tsv file without a header line
    """
    if source.startswith("hub:"):
        yield from ((f"{source}, row {n}", row) for n, row in enumerate(read_hub_rows(source), 1))
        return
    path = fetch_url(source) if source.startswith("https://") else find_source(source)
    suffix = path.suffix.lower()
    if suffix == ".tsv":
        yield from read_table(path, columns)
        return
    if suffix == ".jsonl":
        lines = ((f"{path}, line {n}", line) for n, line in enumerate(read_lines(path), 1))
        rows = ((place, _parse(line, place)) for place, line in lines if line.strip())
    elif suffix == ".json":
        listed = _parse("\n".join(read_lines(path)), path)
        if not isinstance(listed, list):
            raise ValueError(f"{path}: expected a JSON list of rows, found {type(listed).__name__}")
        rows = ((f"{path}, row {n}", row) for n, row in enumerate(listed, 1))
    else:
        raise ValueError(f"{path}: expected a .json, .jsonl or .tsv file")
    for place, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{place}: expected an object with fields, found {str(row)[:60]!r}")
        yield place, row


def convert_rows(rows, convert, share=0.0, left_out=None):
    """`convert(row, place)` of the (place, row) pairs of a set, as a list, without those for which it raises ValueError.

    left_out  a list that gets (place, reason) of each of them; ValueError when they are more than `share` of the rows
    """
    good, bad = [], []
    for place, row in rows:
        try:
            good.append(convert(row, place))
        except ValueError as error:
            bad.append((place, str(error)))
    if len(bad) > share * (len(good) + len(bad)):
        place, reason = bad[0]
        told = f"{len(bad):,} of {len(good) + len(bad):,} rows of this set cannot be used, bad_rows allows {share:.0%}"
        raise ValueError(f"{place}: {reason} ({told})")
    if left_out is not None:
        left_out += bad
    return good


def _parse(text, place):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not valid JSON ({error})") from None


def read_table(path, columns=(), quoted=False):
    """Yield (place, row) of a TSV file; `columns` replaces the header line, `quoted` allows double quotes around fields."""
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    lines = csv.reader((line + "\n" for line in read_lines(path)), delimiter="\t", quoting=quoting)
    header = list(columns) or next(lines, [])
    for values in filter(None, lines):
        place = f"{path}, line {lines.line_num}"
        if len(values) != len(header):
            raise ValueError(f"{place}: expected {len(header)} columns, found {len(values)}")
        yield place, dict(zip(header, values, strict=True))
