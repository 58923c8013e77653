"""The table of errors: a case says what is wrong, makes it happen (its function takes pytest fixtures), and what is named.

Where nothing is raised, `error` is None and the function returns what is printed. docs/errors.md has a row for each case.
"""

from collections import namedtuple

CASES = []


Case = namedtuple("Case", "stage wrong error words make")  # stage: a heading of docs/errors.md


def case(stage, wrong, error, *words):
    """Put a function into the table."""

    def take(make):
        CASES.append(Case(stage, wrong, error, words, make))
        return make

    return take
