"""docs/errors.md from the table: `python -m tests.errors.page` writes it."""

from blossom.common import paths
from tests.errors import (  # noqa: F401
    bad_instructions,
    bad_models,
    bad_parameters,
    bad_runs,
    bad_scores,
    bad_texts,
)
from tests.errors.table import ROWS, STAGES

FILE = paths.ROOT / "docs" / "errors.md"
HEAD = """# What it says when something is wrong

Each line was made to happen: `make test` runs every row of this page (tests/errors) and compares the message. "…" stands
for what differs from run to run: a path, a number. The page is written by `python -m tests.errors.page`.

In a notebook a parameter that cannot be is told in one line, without a traceback; `make run` and Snakemake say it before
anything is planned. Other messages end a traceback: its last line is the one that counts."""


def page():
    """The page's Markdown."""
    parts = [HEAD]
    for stage in STAGES:
        rows = [row for row in ROWS if row.stage == stage]
        parts.append(f"\n## {stage[0].upper()}{stage[1:]}\n\n| What is wrong | What it says | What to do |\n|---|---|---|")
        parts += [f"| {_cell(r.wrong)} | {r.kind}: {_code(r.says)} | {_cell(r.cure)} |" for r in rows]
    return "\n".join(parts) + "\n"


def _code(text):
    code = f"`` {text} ``" if "`" in text else f"`{text}`"
    return code.replace("|", "\\|")


def _cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    paths.write_text(FILE, page())
