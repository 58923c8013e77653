"""The table of rehearsed errors: a case says what is wrong, makes it happen, and knows what the message must name.

    @case("parameters", "a name mistyped", ValueError, "mine.yaml", "'sedd'", "'seed'")
    def mistyped(tmp_path):
        params.read_params(yaml_file(tmp_path, "sedd: 1"))

A case's function takes pytest fixtures by name. Where nothing is raised, `error` is None and the function returns what is
printed or counted. docs/errors.md, written by hand, has a row for each case.
"""

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
