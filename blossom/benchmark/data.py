"""The benchmarks' rows: found, read from the authored mini-sets, the public files or the hub, and checked."""

import csv
import json
from pathlib import Path

from blossom.benchmark.probes import PROBES
from blossom.benchmark.records import BadRecord
from blossom.benchmark.sources import SOURCES as PAPERS
from blossom.common import paths
from blossom.text.rows import read_lines

SOURCES = PAPERS | PROBES
AUTHORED = paths.ROOT / "data" / "benchmarks"


def read_task_rows(task, benchmarks="authored", training=False):
    """The rows of a task.

    task        a key of SOURCES
    benchmarks  "authored" (the mini-sets in data/benchmarks), "hub", or a folder of the public files
    training    the training rows instead, for few-shot examples
    return      (rows, origin): dicts with `id`, the task's columns and, where a choice is right, its number as `label`;
                the file (its place below the repository or the folder's parent) or hub id read

    Raises ValueError naming file, line, column and what was expected; a folder without the task's file; no network.
    """
    source = SOURCES[task]
    if not source.hub:
        benchmarks = "authored"
    if benchmarks == "hub":
        name, config, split = source.hub
        return check_rows(task, _hub(name, config, "train" if training else split), f"hub:{name}"), f"hub:{name}"
    folder = AUTHORED if benchmarks == "authored" else Path(benchmarks).expanduser()
    folder = folder if folder.is_absolute() else paths.ROOT / folder
    file = _find(task, folder, source.train if training else source.files, training)
    return check_rows(task, _records(file, source), str(file)), str(file.relative_to(_base(folder)))


def _base(folder):
    """What a file's place is told from: the repository, or the folder's parent."""
    return paths.ROOT if folder.is_relative_to(paths.ROOT) else folder.parent


def check_rows(task, records, where):
    """The rows of (place, record) pairs; ValueError starts with `where` and the place."""
    rows = []
    for place, record in records:
        try:
            if not isinstance(record, dict):
                raise BadRecord(f"expected an object, found {record!r:.60}")
            row = SOURCES[task].row(record)
        except BadRecord as error:
            raise ValueError(f"{where}, {place}: {task}: {error}") from None
        if row is None:
            continue
        name = next((record[k] for k in ("guid", "ID", "id", "idx", "ind") if k in record), len(rows))
        rows.append({"id": str(name), **row})
    if not rows:
        raise ValueError(f"{where}: {task}: no rows")
    return rows


def _find(task, folder, patterns, training):
    """The one file of a task in a folder; ValueError: no folder, no such file, or several that would fit."""
    if not folder.is_dir():
        raise ValueError(f"benchmarks: expected 'authored', 'hub' or a folder, found {str(folder)!r}, which is no folder")
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise ValueError(f"benchmarks: {folder}: several files could be {task}: {', '.join(f.name for f in found[:4])}")
        if found:
            return found[0]
    what = "training file (shots needs one)" if training else "file"
    raise ValueError(f"benchmarks: {folder}: no {what} of {task}; looked for {', '.join(patterns) or 'none: it has none'}")


def _records(file, source):
    """(place, record) of each record in a .json, .jsonl or tab-separated file."""
    text = "\n".join(read_lines(file))
    if file.suffix == ".json":
        try:
            records = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{file}: not valid JSON ({error})") from None
        if not isinstance(records, list):
            raise ValueError(f"{file}: expected a list of objects, found {type(records).__name__}")
        yield from ((f"item {n}", r) for n, r in enumerate(records, 1))
    elif file.suffix == ".jsonl":
        for n, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    yield f"line {n}", json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{file}, line {n}: not valid JSON ({error})") from None
    else:
        yield from _tab_separated(file, text, source)


def _tab_separated(file, text, source):
    quoting = csv.QUOTE_MINIMAL if source.quoted else csv.QUOTE_NONE
    lines = csv.reader((line + "\n" for line in text.split("\n")), delimiter="\t", quoting=quoting)
    header = list(source.names) or next(lines, None)
    for values in lines:
        if values and len(values) != len(header):
            raise ValueError(f"{file}, line {lines.line_num}: expected {len(header)} columns, found {len(values)}")
        if values:
            yield f"line {lines.line_num}", dict(zip(header, values, strict=True))


def _hub(name, config, split):
    """(place, record) of a hub dataset's split. Sets that still come as a script are read from the hub's Parquet copy."""
    import datasets

    try:
        if name.startswith("https://"):
            rows = datasets.load_dataset("json", data_files=name, split=split)
        else:
            try:
                rows = datasets.load_dataset(name, config, split=split)
            except RuntimeError:  # "Dataset scripts are no longer supported"
                copy = f"hf://datasets/{name}@refs/convert/parquet/{config or 'default'}/{split}/*.parquet"
                rows = datasets.load_dataset("parquet", data_files=copy, split="train")
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:160]
        raise ValueError(
            f"benchmarks: hub: {name} could not be had ({type(error).__name__}: {reason}). "
            "Without a network, set benchmarks to 'authored' or to a folder of the public files."
        ) from None
    return ((f"row {n}", row) for n, row in enumerate(rows))
