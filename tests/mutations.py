"""Break the product on purpose, one place at a time, in a copy of the tree, and see that a test notices (mutations.yaml).

    python -m pytest tests/mutations.py                  all of them
    python -m pytest tests/mutations.py -k "closure"     those whose file or break has this word

The named tests also run on an unchanged copy, where they must pass. Old text must stand exactly once in its file.
"""

import os
import shutil
import subprocess
import sys

import pytest

from tests.batch import copy_project
from tests.cases import read_cases

MUTATIONS = [entry | {"file": file} for file, entries in read_cases(__file__).items() for entry in entries]


@pytest.fixture
def tree(tmp_path):
    yield copy_project(tmp_path / "tree")
    shutil.rmtree(tmp_path)


def run_tests(tree, names):
    """(pytest's exit code: 0 all passed, 1 one failed; what it printed) of test files of a copy of the tree."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", *(f"tests/{name}.py" for name in names)]
    done = subprocess.run(command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, capture_output=True, text=True)
    return done.returncode, done.stdout[-3000:] + done.stderr[-500:]


@pytest.mark.parametrize("name", sorted({name for m in MUTATIONS for name in m["tests"]}))
def test_the_unchanged_tree_passes(tree, name):
    code, told = run_tests(tree, [name])
    assert code == 0, told


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m['file']}: {m['breaks']}")
def test_a_break_is_noticed(tree, mutation):
    file, old = tree / "blossom" / mutation["file"], mutation["old"]
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file}: {old!r} stands there {text.count(old)} times, expected once"
    file.write_text(text.replace(old, mutation["new"]), encoding="utf-8")
    code, told = run_tests(tree, mutation["tests"])
    assert code == 1, told
