"""The way data flows: a module imports only those above it in the list of DESIGN (here, in this order)."""

import ast

import pytest

from blossom import paths

ORDER = (
    "paths params plan assets forecast corpus tokenization vocab embeddings packing models training "
    "instructions generation benchmark preference figures report"
).split()
FILES = sorted((paths.ROOT / "blossom").rglob("*.py"))


def module_of(file):
    parts = file.relative_to(paths.ROOT / "blossom").with_suffix("").parts
    return parts[0]


def imported(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "blossom" else [f"blossom.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        yield from (n.split(".")[1] for n in names if n.startswith("blossom."))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(paths.ROOT)))
def test_a_module_imports_only_those_above_it(file):
    own = module_of(file)
    if own == "__init__":
        assert not list(imported(file))
        return
    allowed = ORDER[: ORDER.index(own) + 1] if own in ORDER else ORDER
    assert [m for m in imported(file) if m not in allowed] == []


def test_every_module_has_its_place_and_says_what_it_is_for():
    modules = {module_of(f) for f in FILES} - {"__init__", "tasks"}
    assert modules <= set(ORDER)
    for file in FILES:
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), f"{file} has no docstring"
