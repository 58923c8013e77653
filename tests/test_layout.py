"""The way data flows: a module imports only those above it in the list of DESIGN (here, in this order)."""

import ast
import json
import re
from dataclasses import fields

import pytest

from blossom.common import paths, stages

ORDER = (
    "common assets text vocabulary models training batch instructions generation benchmark preference report publishing"
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
    modules = {module_of(f) for f in FILES} - {"__init__"}
    assert modules <= set(ORDER)
    for file in FILES:
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), f"{file} has no docstring"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/data.md", "docs/cluster.md"])
def test_what_a_page_names_is_there(page):
    def named(pattern, file=page):
        return set(re.findall(pattern, (paths.ROOT / file).read_text(encoding="utf-8"), re.M))

    assert named(r"(?:^|`|&& )make ([a-z-]+)") <= set(" ".join(named(r"^\.PHONY: (.*)", "Makefile")).split())
    modules = [m.replace(".", "/") for m in named(r"-m (blossom[\w.]*\w)")]
    files = named(r"\b(?:params|notebooks|docs|tests|blossom)/[\w./-]+\.(?:yaml|ipynb|md|py)\b")
    scales = named(r"SCALE=([\w.-]+\w)") | named(r"outputs/([\w.-]+)/(?:report|book|[\w-]+/0)")
    assert [m for m in modules if not any((paths.ROOT / f"{m}{end}").exists() for end in (".py", "/__main__.py"))] == []
    assert [f for f in [*files, *(f"params/scales/{s}.yaml" for s in scales)] if not (paths.ROOT / f).exists()] == []


# ------------------------------------------------------------------------------------------- parameters that are read


def code_of(stage):
    """The notebook's own code, parameters apart, and that of every module of ours it reaches (params.py apart)."""
    cells = json.loads((paths.ROOT / "notebooks" / f"{stage}.ipynb").read_text(encoding="utf-8"))["cells"]
    cells = [c for c in cells if c["cell_type"] == "code" and "parameters" not in c["metadata"].get("tags", [])]
    source = "\n".join("".join(c["source"]) for c in cells)
    names = {name for line in re.findall(r"^from blossom.*", source, re.M) for name in re.findall(r"\w+", line)}
    wanted, reached = [m for m in ORDER if m in names], set()
    while wanted:
        module = wanted.pop()
        if module not in reached:
            reached.add(module)
            wanted += {m for f in FILES if module_of(f) == module for m in imported(f)}
    return source, [f.read_text(encoding="utf-8") for f in FILES if module_of(f) in reached - {"params"}]


def is_read(name, code):
    """Is the parameter looked up: p.name, "name" among those taken together, or a field of TrainingSettings?"""
    own = rf"\bp\.{name}\b|\"{name}\"|^    {name.removeprefix('sft_')}: \w+ = "
    return any(re.search(own, text, re.M) for text in code)


@pytest.mark.parametrize("stage", stages.STAGES)
def test_every_parameter_of_a_notebook_is_read_by_it_or_what_it_calls(stage):
    notebook, modules = code_of(stage)
    assert len(modules) > 3 and not is_read("nobody_reads_me", [notebook, *modules])
    assert [f.name for f in fields(stages.STAGES[stage]) if not is_read(f.name, [notebook, *modules])] == []
