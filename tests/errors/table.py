"""The table of errors: a case says what is wrong, makes it happen (its function takes pytest fixtures), and what is named.

Where nothing is raised, `error` is None and the function returns what is printed. docs/errors.md has a row for each case.
"""

import json
from typing import NamedTuple

CASES = []


class Case(NamedTuple):
    stage: str  # a heading of docs/errors.md
    wrong: str
    error: type | None
    words: tuple
    make: object


def case(stage, wrong, error, *words):
    """Put a function into the table."""

    def take(make):
        CASES.append(Case(stage, wrong, error, words, make))
        return make

    return take


def file_case(stage, wrong, read, name, content, *words):
    """A case whose input is a file `name` of this content (str, bytes, or JSON rows), read by `read(path)`: a ValueError."""

    def make(tmp_path):
        rows = "\n".join(json.dumps(row, ensure_ascii=False) for row in content) if isinstance(content, list) else content
        (tmp_path / name).write_bytes(rows if isinstance(rows, bytes) else rows.encode("utf-8"))
        list(read(tmp_path / name) or ())

    case(stage, wrong, ValueError, *words)(make)
