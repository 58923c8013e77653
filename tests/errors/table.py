"""The table of rehearsed errors: a row says what is wrong, makes it for real, and knows the words that must be said.

    @row("parameters", "a name mistyped", ValueError, "no parameter is called 'sedd'; did you mean 'seed'?", "Use the name.")
    def mistyped(tmp_path):
        params.read_params(yaml_file(tmp_path, "sedd: 1"))

A row's function takes pytest fixtures by name. `says` is the message as the user reads it, "…" standing for what differs
from run to run. Where nothing is raised, the function returns what is printed or counted, and `error` names that.
docs/errors.md is made of the same rows by `python -m tests.errors.page`.
"""

from dataclasses import dataclass

STAGES = (
    "parameters",
    "commands",
    "texts",
    "downloads and the hub",
    "tokenizers and vocabulary (01, 02)",
    "models",
    "training (03)",
    "instructions (04)",
    "translation and review (04)",
    "benchmarks (05)",
    "preference (06)",
    "report (07)",
    "memory, disk, kills, several runs at once",
)
ROWS = []


@dataclass(frozen=True)
class Row:
    """A bad input: stage, what is wrong, the exception's class (or a word for what is told otherwise), message, cure."""

    stage: str
    wrong: str
    error: object
    says: str
    cure: str
    make: object

    @property
    def kind(self):
        """The exception's name, or the word that stands for it."""
        return self.error if isinstance(self.error, str) else self.error.__name__

    def fits(self, message):
        """Are the words of `says` in a message, in their order?"""
        place = 0
        for part in self.says.split("…"):
            found = message.find(part.strip(), place)
            if found < 0:
                return False
            place = found + len(part.strip())
        return True


def row(stage, wrong, error, says, cure):
    """Put a function into the table."""

    assert stage in STAGES, stage

    def take(make):
        ROWS.append(Row(stage, wrong, error, says, cure, make))
        return make

    return take
