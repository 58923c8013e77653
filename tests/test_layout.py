"""The shape of the module: names, sizes, the order of imports, parameters that are used, and what README and docs name."""

import ast
import json
import re
from collections import defaultdict
from dataclasses import fields
from functools import cache

import pytest

from blossom.common import paths, stages
from blossom.training.settings import TrainingSettings

ORDER = (
    "common assets text vocabulary models training batch instructions generation benchmark preference report publishing"
).split()
FILES = sorted((paths.ROOT / "blossom").rglob("*.py"))


def module_of(file):
    return ".".join(file.relative_to(paths.ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {module_of(file): file.read_text(encoding="utf-8") for file in FILES}


parsed = cache(ast.parse)


def imported_modules(tree):
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "blossom":
            found |= {f"{node.module}.{a.name}" for a in node.names} & set(SOURCES) or {node.module}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names} & set(SOURCES)
    return found


@pytest.mark.parametrize("module", SOURCES)
def test_a_folder_imports_only_those_before_it(module):
    if module.endswith("__main__") or module == "blossom":  # a program may use all folders; no module imports it
        return
    own = ORDER.index(module.split(".")[1])
    late = [m for m in imported_modules(parsed(SOURCES[module])) if m == "blossom" or ORDER.index(m.split(".")[1]) > own]
    assert late == []


@pytest.mark.parametrize("folder", ORDER)
def test_the_modules_of_a_folder_import_each_other_in_one_direction(folder):
    own = {m: imported_modules(parsed(s)) for m, s in SOURCES.items() if m.startswith(f"blossom.{folder}.")}
    while free := [m for m, needed in own.items() if not needed & set(own)]:
        for module in free:
            del own[module]
    assert sorted(own) == [], "these import each other in a circle"


def test_every_folder_has_its_place_every_file_says_what_it_is_for_and_init_files_import_nothing():
    assert {m.split(".")[1] for m in SOURCES if m != "blossom"} == set(ORDER)
    assert [m for m, source in SOURCES.items() if not ast.get_docstring(parsed(source))] == []
    inits = [parsed(SOURCES[module_of(f)]) for f in FILES if f.name == "__init__.py"]
    assert not [n for tree in inits for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]


def test_a_public_name_is_defined_in_one_module_only():
    places = defaultdict(list)
    for module, source in SOURCES.items():
        for node in parsed(source).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_files_and_module_stay_small():
    lines = {module: len(source.splitlines()) for module, source in SOURCES.items()}
    assert {m: n for m, n in lines.items() if n > 300} == {}
    tests = sum(len(f.read_text(encoding="utf-8").splitlines()) for f in (paths.ROOT / "tests").rglob("*.py"))
    assert sum(lines.values()) <= 12_176 and tests <= 8_672


def test_every_text_that_a_mutation_breaks_is_there_once():
    for file, mutations in paths.read_yaml_beside(paths.ROOT / "tests/mutations.py").items():
        source = (paths.ROOT / "blossom" / file).read_text(encoding="utf-8")
        assert [m["breaks"] for m in mutations if source.count(m["old"]) != 1] == []


def code_of(stage):
    cells = json.loads((paths.ROOT / "notebooks" / f"{stage}.ipynb").read_text(encoding="utf-8"))["cells"]
    cells = [c for c in cells if c["cell_type"] == "code" and "parameters" not in c["metadata"].get("tags", [])]
    notebook = "\n".join("".join(c["source"]) for c in cells)
    wanted, reached = imported_modules(ast.parse(notebook)), set()
    while wanted:
        module = wanted.pop()
        reached.add(module)
        wanted |= imported_modules(parsed(SOURCES.get(module, ""))) - reached
    return [notebook, *(SOURCES[m] for m in sorted(reached) if m in SOURCES and m != "blossom.common.params")]


def names_read(sources, owner):
    """What is read of `owner`: `p.seed`, `self.p.seed`, `getattr(p, name)` with the words of its line."""
    text = "\n".join(sources)
    around = "".join(re.findall(rf".*getattr\({owner}, .*", text))
    return {*re.findall(rf"\b{owner}\.(\w+)", text), *re.findall(r'"(\w+)"', around)}


def unread_parameters(stage, sources):
    """Parameters of a stage that neither `p` nor a TrainingSettings made of it is asked for."""
    read = names_read(sources, "p")
    if any("TrainingSettings.of(" in source for source in sources):
        settings = names_read(sources, "settings") & {f.name for f in fields(TrainingSettings)}
        read |= settings | {f"sft_{name}" for name in settings}
    return [f.name for f in fields(stages.STAGES[stage]) if f.name not in read]


@pytest.mark.parametrize("stage", stages.STAGES)
def test_every_parameter_of_a_notebook_is_read_by_it_or_by_what_it_imports(stage):
    sources = code_of(stage)
    assert len(sources) > 3 and unread_parameters(stage, sources) == []
    names = [f.name for f in fields(stages.STAGES[stage])]
    either = "|".join({*names, *(name.removeprefix("sft_") for name in names)})
    access = re.compile(rf"\b(p|settings)\.({either})\b|\"({either})\"")
    mutated = [access.sub("p.nothing", source) for source in sources]
    assert unread_parameters(stage, mutated) == names, "reads were removed and not missed"


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
