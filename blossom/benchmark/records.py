"""What every task's source shares: how it is found, and how the columns of a record are read and checked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Where a task's rows come from and how a record becomes a row.

    row    record -> dict of the columns that the task's template names, and an integer `label` (none when it is written);
           None for a record that the public set is known to have and that nothing can be asked about
    files  glob patterns below a folder, the first that matches is evaluated; `train` likewise, for few-shot examples
    hub    (dataset id or URL, configuration, evaluated split); columns as the hub has them; empty: there is only the
           authored set, read from data/benchmarks whatever the other tasks are read from
    blank  rows with each text replaced by its column's name: rendered, they show the prompt itself
    quoted TSV fields may be in quotes (KoBEST's), or a quote is a character like any other (NSMC's)
    names  columns of TSV files that have no header line
    """

    row: object
    files: tuple
    hub: tuple
    blank: tuple
    train: tuple = ()
    quoted: bool = True
    names: tuple = ()


class BadRecord(ValueError):
    """What is wrong with a record, before file and line are known."""


def value(record, *names):
    """The first of some columns that a record has; BadRecord when it has none."""
    for name in names:
        if name in record and record[name] is not None:
            return record[name]
    raise BadRecord(f"no column {' or '.join(names)}; it has {', '.join(map(str, record))}")


def text(record, *names):
    """The first of some columns that a record has, which must hold text; BadRecord when it does not."""
    found = value(record, *names)
    if not isinstance(found, str) or not found.strip():
        raise BadRecord(f"{names[0]}: expected text, found {found!r}")
    return found


def label(record, names, labels):
    """The number of a record's label; `labels` maps each spelling (lower case) to it. BadRecord for another spelling."""
    found = value(record, *names)
    spelled = str(int(found)) if isinstance(found, (bool, float)) and found == int(found) else str(found)
    if spelled.strip().lower() not in labels:
        raise BadRecord(f"{names[0]}: expected one of {', '.join(labels)}, found {found!r}")
    return labels[spelled.strip().lower()]


def numbers(count):
    """Labels that are spelled as numbers: {"0": 0, ...}."""
    return {str(n): n for n in range(count)}
