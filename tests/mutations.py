"""Break the product on purpose, one place at a time, in a copy of the tree, and see which tests notice.

    python tests/mutations.py                    all of mutations.yaml
    python tests/mutations.py training closure   those in files whose path has one of these words
    python tests/mutations.py --jobs 1           one at a time (default: two)

The named tests first run on the unchanged copy, where they must pass. Exits 1 when fewer than 18 of 20 mutations are caught,
or when one of them cannot be tried: its old text must stand exactly once in its file.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
NEEDED = 18 / 20
LEFT_OUT = (".git", ".venv", "outputs", "__pycache__", ".pytest_cache", ".ruff_cache", ".snakemake")


def apply_mutation(tree, file, old, new, **_):
    path = tree / "blossom" / file
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise ValueError(f"{path}: {old!r} stands there {text.count(old)} times, expected once")
    path.write_text(text.replace(old, new), encoding="utf-8")


def read_mutations(words=()):
    listed = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    every = [entry | {"file": file} for file, entries in listed.items() for entry in entries]
    return [m for m in every if not words or any(word in m["file"] for word in words)]


def run_tests(names, mutation=None):
    """(pytest's exit code: 0 all passed, 1 one failed; what it printed) of test files, run in a copy of the tree."""
    with tempfile.TemporaryDirectory() as folder:
        tree = shutil.copytree(ROOT, Path(folder, "tree"), ignore=shutil.ignore_patterns(*LEFT_OUT))
        if mutation:
            apply_mutation(tree, **mutation)
        command = [sys.executable, "-m", "pytest", "-x", "-q", *(f"tests/{name}.py" for name in names)]
        environment = os.environ | {"PYTHONPATH": str(tree)}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout[-3000:] + done.stderr[-500:]


def try_mutation(mutation):
    """("caught", "missed" or what went wrong; the test that failed)."""
    try:
        code, told = run_tests(mutation["tests"], mutation)
    except (ValueError, OSError) as error:
        return "not tried", str(error)
    failed = re.search(r"^FAILED tests/(\S+)", told, re.M)
    return {0: "missed", 1: "caught"}.get(code, f"exit {code}"), failed[1] if failed else told.strip()[-300:] * (code > 0)


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("words", nargs="*")
    asked.add_argument("--jobs", type=int, default=2)
    asked = asked.parse_args()
    mutations, states = read_mutations(asked.words), []
    with ThreadPoolExecutor(asked.jobs) as pool:
        names = sorted({name for m in mutations for name in m["tests"]})
        for name, (code, told) in zip(names, pool.map(lambda name: run_tests([name]), names), strict=True):
            if code:
                pool.shutdown(cancel_futures=True)
                sys.exit(f"tests/{name}.py does not pass on the unchanged tree:\n{told}")
        for mutation, (state, told) in zip(mutations, pool.map(try_mutation, mutations), strict=True):
            states.append(state)
            print(f"{state:9} {mutation['file']:26} {mutation['breaks']:48} {told}", flush=True)
    print(f"{states.count('caught')} of {len(states)} caught")
    return int(not set(states) <= {"caught", "missed"} or states.count("caught") < NEEDED * len(states))


if __name__ == "__main__":
    sys.exit(main())
