"""AI-Hub's exports: zip files with sheets or with JSON of several shapes (docs/data.md), and their pairs as TSV."""

import io
import lzma
import random
import unicodedata
import warnings
import zipfile
import zlib
from pathlib import Path

from blossom.assets.builders import LETTERS
from blossom.common import paths, shell

LISTS = ("named_entity", "documents", "data")  # where an export has its rows, besides SJML.text
BODIES = ("text", "content", "paragraphs", "ko", "원문")  # where a row has its text
UNPACKED, RATIO = 50_000_000, 100  # refused in a zip file: what has more bytes unpacked, and this many for each packed one


def read_document(row, place):
    """The text of a row of an export, title first, or None for null; ValueError names a row without text."""
    name = next((name for name in BODIES if name in row), None)
    if name is None:
        raise ValueError(f"{place}: expected one of the fields {', '.join(BODIES)}; found {_names(row)}")
    row = row | {name: _find_sides(row)[1]} if name == "원문" else row
    if row[name] is None or (name == "text" and isinstance(row[name], str)):
        return row[name]
    return "\n".join([*_texts(row.get("title", row.get("doc_title")), place), *_texts(row[name], place)])


def read_aihub_pairs(path):
    """Yield (English, Korean) of every row of translation data in `path`; ValueError names a row without one of them."""
    path = paths.find_path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if not (files := paths.list_files(path)):
        raise ValueError(f"{path}: holds no .json and no .zip file")
    for file in files:
        for place, row in _read_export(file.suffix.lower(), file, file):
            sides = [side for side in _find_sides(row if isinstance(row, dict) else {}) if isinstance(side, str)]
            pair = [unicodedata.normalize("NFC", " ".join(side.split())) for side in sides if side.strip()]
            if len(pair) < 2 or len(LETTERS["en"].findall(pair[0])) < len(LETTERS["ja"].findall(pair[0])):
                told = "expected English and Korean text in 'en' and 'ko' (or 번역문 and 원문)"
                raise ValueError(f"{place}: {told}, found {str(pair)[:80] if len(pair) > 1 else _names(row)}")
            yield tuple(pair)


def _find_sides(row):
    """The English and the Korean value of a row of translations; 원문 is the original, in either language."""
    sides = row.get("en", row.get("번역문")), row.get("ko", row.get("원문"))
    return sides if "en" in row else sorted(sides, key=lambda side: len(LETTERS["ko"].findall(str(side or ""))))


def _read_export(suffix, file, place):
    if suffix in (".zip", ".xlsx"):
        return read_archive(file) if suffix == ".zip" else read_sheet(file, place)
    if suffix == ".json":
        return list_rows(paths.parse_json(paths.decode_text(file.read_bytes(), place), place, strict=False), place)
    raise ValueError(f"{place}: expected a .json, .zip or .xlsx file")


def read_archive(file):
    """Yield (place, row) of the .json and .xlsx files in a zip file; ValueError names one that cannot be read safely."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = _list_members(archive, file)
            read = [name for name in names if Path(name).suffix.lower() in (".json", ".xlsx")]
            others = ", ".join([name for name in names if name not in read][:4])
            if not read:
                raise ValueError(f"{file}: holds no .json and no .xlsx file, but {others or 'nothing'}: unpack it")
            if others:
                warnings.warn(f"{file}: not read, being no .json and no .xlsx: {others}", stacklevel=2)
            for name in read:
                yield from _read_export(Path(name).suffix.lower(), zipfile.Path(archive, name), f"{file}: {name}")
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, OSError) as error:
        raise ValueError(f"{file}: not a whole zip file ({error}); join the downloaded parts (.part0, ...) first") from None


def read_sheet(file, place=None):
    """Yield (place, row) of an .xlsx file: the first row of each sheet names the fields, and every value is text or None."""
    import openpyxl
    from openpyxl.utils.escape import unescape  # "_x000D_" is a line's end

    place, data = place or file, io.BytesIO(file.read_bytes())
    try:
        _list_members(zipfile.ZipFile(data), place)
        for sheet in openpyxl.load_workbook(data, read_only=True, data_only=True).worksheets:
            sheet.reset_dimensions()  # the size that a file gives may be wrong
            header = ()
            for n, row in enumerate(sheet.iter_rows(), 1):  # an error ("#NAME?") is no value
                values = [None if c.value is None or c.data_type == "e" else unescape(str(c.value)) for c in row]
                if header and any(values):
                    yield f"{place}, {sheet.title}, row {n}", dict(zip(header, values, strict=False))
                header = header or ([name or "" for name in values] if any(values) else ())  # pandas gives its index no name
    except Exception as error:  # openpyxl has no error of its own for a damaged file
        raise ValueError(f"{place}: not a whole .xlsx file ({error})") from None


def _list_members(archive, place):
    """The names of the files in a zip file, without hidden ones; ValueError when one is encrypted or a zip bomb."""
    members = [m for m in archive.infolist() if not m.is_dir()]
    for member in members:
        if member.flag_bits & 1:
            raise ValueError(f"{place}: {member.filename} is encrypted: unpack it with its password")
        if member.file_size > max(UNPACKED, RATIO * member.compress_size):
            told = f"{member.file_size:,} bytes from {member.compress_size:,}"
            raise ValueError(f"{place}: {member.filename} unpacks to {told}, which no text does: it is not opened")
    return sorted({m.filename for m in members if not paths.is_hidden(m.filename)})  # of two with one name, the last is read


def list_rows(content, place):
    """(place, row) of JSON that is a list of rows, or an object that has such a list where AI-Hub puts it."""
    found = content
    if isinstance(content, dict):
        inner = content.get("SJML")
        found = inner.get("text") if isinstance(inner, dict) else next((content[n] for n in LISTS if n in content), None)
    if not isinstance(found, list):
        raise ValueError(f"{place}: expected a JSON list of rows, or SJML.text, {', '.join(LISTS)}; found {_names(content)}")
    return ((f"{place}, row {n}", row) for n, row in enumerate(found, 1))


def _texts(value, place):
    if isinstance(value, list):
        return [text for part in value for text in _texts(part, place)]
    if isinstance(value, dict):
        if not {"sentence", "context"} & value.keys():
            raise ValueError(f"{place}: expected the field 'sentence' or 'context', found {_names(value)}")
        return [text for name in ("sentence", "context") for text in _texts(value.get(name), place)]
    if not isinstance(value, str | None):
        raise ValueError(f"{place}: expected text, found {value!r:.60}")
    return [value] if value else []


def _names(value):
    return ", ".join(map(repr, list(value)[:8]))[:200] if isinstance(value, dict) and value else type(value).__name__


def write_aihub_pairs(source, target, rows=0, heldout=0, seed=0):
    """Write translation pairs, drawn by `seed`, to the TSV `target` (English TAB Korean) and `heldout` others beside it.

    rows    number of training pairs; 0: all that are not held out
    return  the files written: `target`, and the held-out <target>_test/translation.tsv, the name that `benchmarks` looks for
    """
    import pandas as pd

    found = list(dict.fromkeys(read_aihub_pairs(source)))
    random.Random(seed).shuffle(found)
    tested = found[:heldout]
    known = {side.casefold() for pair in tested for side in pair}  # one sentence may have several translations
    trained = [pair for pair in found[heldout:] if known.isdisjoint(side.casefold() for side in pair)]
    if len(trained) < (rows or 1):
        raise ValueError(f"{source}: {len(found)} different pairs: too few for rows {rows or 1} and heldout {heldout}")
    parts = {(target := Path(target)): trained[: rows or None]}
    if heldout:
        parts[target.with_name(target.stem + "_test") / "translation.tsv"] = tested
    for file, part in parts.items():
        paths.write_text(file, pd.DataFrame(part).to_csv(sep="\t", header=False, index=False))  # with "" for each "
    return list(parts)


def main(words=None):
    print(*write_aihub_pairs(**vars(shell.read_words(__file__, words))), sep="\n")


if __name__ == "__main__":
    shell.run(main)
