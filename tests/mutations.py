"""Break the product on purpose, one place at a time, in a copy of the tree, and see which tests notice.

    python tests/mutations.py                    all of MUTATIONS
    python tests/mutations.py training closure   those whose file's path has one of these words
    python tests/mutations.py --jobs 1           one at a time (default: two)

Each old text must stand exactly once in its file. The named tests first run on the unchanged copy, where they must pass.
Exits 1 when fewer than 18 of 20 mutations are caught, or when one of them cannot be tried.
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
from queue import Queue

ROOT = Path(__file__).resolve().parents[1]
NEEDED = 18 / 20
MUTATIONS = [  # (file below blossom/, old text, new text, what is broken, tests that should notice)
    ("assets/sources.py", "if digest != self.sha256:", "if False:", "a wheel's sha256 is not checked", "assets"),
    ("assets/safety.py", "if not isinstance(kind, str) or kind not in CONFIG_MAPPING:", "if False:", "code of a model", "assets models"),
    ("common/params.py", "        if name not in KNOWN:\n", "        if False:\n", "an unknown parameter is taken", "params"),
    ("common/params.py", "layered | {", "{} | {", "scale and recipe are not read", "params"),
    ("common/runs.py", "or paths.hash_path(found) != outputs.get(name)", "", "an edited run is taken", "paths report publishing"),
    ("common/pages.py", 'for character in "<\\u2028', 'for character in "\\u2028', "data can end its element", "pages"),
    ("common/pages.py", "return html.escape(", "return str(", "markup of answers is not escaped", "pages"),
    ("common/server.py", "and self.spent + cost <= self.money + 1e-12", "", "the budget of money is ignored", "server"),
    ("common/server.py", 'replace(self._key or "\\0", "(key)")', 'replace("\\0", "(key)")', "the key is written down", "server"),
    ("text/corpus.py", "keep[i] and fold_letters(line) not in never", "keep[i]", "held-out lines are trained on", "corpus invariants"),
    ("text/language.py", 'return "ko" if korean >=', 'return "ko" if korean <', "Korean and English are exchanged", "language"),
    ("text/leaks.py", "if len(letters) < width:", "if True:", "copied runs of letters are not found", "leaks"),
    ("vocabulary/closure.py", "(used[p], -rank[p], p)", "(-used[p], -rank[p], p)", "useful pieces are given up first", "vocab"),
    ("vocabulary/closure.py", "for n in range(2, len(tokens))", "for n in range(3, len(tokens))", "a missing joint", "vocab"),
    ("vocabulary/certificate.py", 'if not certificate["holds"]:', "if False:", "a failed certificate is taken", "vocab"),
    ("vocabulary/embeddings.py", 'mode="mean"', 'mode="sum"', "new rows are sums", "embeddings"),
    ("models/bits.py", "nats / math.log(2) / ", "nats / ", "nats instead of bits", "models"),
    ("models/adapters.py", "list(range(first, size))", "list(range(first + 1, size))", "one new row is not trained", "models training"),
    ("training/learner.py", "        targets = labels[:, 1:]\n", "        targets = labels[:, :-1]\n", "labels are not shifted", "learner"),
    ("training/learner.py", "if anchored is not None and anchored.any():", "if False:", "the anchor is forgotten", "learner"),
    ("training/loop.py", "items=labelled)", "items=labelled / len(update))", "the loss is normalised wrongly", "training"),
    ("training/packing.py", "np.where(begun, IGNORED, ids)", "ids", "a document's first token is predicted", "packing"),
    ("training/pretraining.py", "tokens, p.seed, p.isolate_documents", "tokens, 0, p.isolate_documents", "p.seed is not read", "packing training"),
    ("training/pretraining.py", "tokens, p.seed, p.isolate_documents", "tokens, p.seed, False", "p.isolate_documents is not read", "packing training learner"),
    ("batch/estimate.py", "if self.memory > self.free:", "if False:", "a run that does not fit starts", "scales"),
    ("batch/plan.py", "[self.key(n) for n in self.needs(run)]", "[]", "a changed parent leaves its children", "report"),
    ("instructions/templates.py", 'if kind in ("answer", "end") else [MASKED] * len(new)', "", "questions are learnt", "instructions invariants"),
    ("instructions/dataset.py", "groups = {e.group", "groups = {e.id", "translations of held-out examples are learnt", "instructions"),
    ("instructions/dataset.py", '"ko": read_instructions(p.korean_', '"ko": read_instructions(p.english_', "ko reads English", "instructions"),
    ("instructions/merging.py", "[v for v in versions.values() if v.done]", "list(versions.values())", "drafts count as done", "review translation"),
    ("generation/answers.py", "[[0] * (width - len(e))", "[[1] * (width - len(e))", "padding is attended to", "generation"),
    ("generation/answers.py", "for e in encoded], device=device)  # (B, T)", "for e in encoded[::-1]], device=device)", "answers change places", "generation"),
    ("benchmark/statistics.py", "np.nan if macro else 0.0", "0.0", "labels that never occur count in macro F1", "benchmark"),
    ("benchmark/comparing.py", "scorers[1](draws) - scorers[0](draws)", "scorers[0](draws) - scorers[1](draws)", "sign", "benchmark_models"),
    ("benchmark/scoring.py", "allowed[node] = allowed[parent]", "pass", "a token sees no token before it", "benchmark"),
    ("benchmark/suite.py", "sample(range(len(rows)), items)", "sample(range(items), items)", "items are not drawn", "benchmark benchmark_models"),
    ("preference/statistics.py", "shares[..., 1:2] / 2", "shares[..., 1:2]", "a tie counts as a win", "preference_statistics"),
    ("preference/verdicts.py", 'transform("nunique") > 1', 'transform("nunique") > 2', "a judge's two orders may differ", "preference_statistics"),
    ("preference/ratings.py", '"ab"[item.first == "a"]', '"ba"[item.first == "a"]', "B wins for A", "people"),
    ("report/claims.py", '(side == "above") == (kind == "more")', 'side == "above"', "a loss supports a claim of less", "report"),
    ("report/reference.py", "abs(after - before) <= allowed", "after - before <= allowed", "a fall is within every tolerance", "report"),
    ("publishing/hub.py", "    if plan.refusals:\n", "    if False:\n", "what is refused is pushed", "publishing"),
    ("publishing/card.py", 'round(100 * row["score"], 2)', 'round(row["score"], 2)', "shares instead of percent", "publishing"),
    ("publishing/licences.py", "for i in found if not i.licence]", "for i in []]", "an unknown licence is published", "publishing"),
]


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("words", nargs="*", help="words of the files' paths")
    asked.add_argument("--jobs", type=int, default=2)
    asked = asked.parse_args()
    chosen = [m for m in MUTATIONS if not asked.words or any(word in m[0] for word in asked.words)]
    wrong = [f"blossom/{file}: {old!r} stands there {n} times, expected once" for file, old, *_ in chosen if (n := count(file, old)) != 1]
    print(*wrong, sep="\n", end="\n" * bool(wrong))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(asked.jobs) as pool:
        copies = Queue()
        for n in range(asked.jobs):
            copies.put(copy_tree(Path(folder) / str(n)))
        with_copy = lambda task, *words: run_in_copy(copies, task, *words)  # noqa: E731
        tried = [m for m in chosen if count(*m[:2]) == 1]
        named = sorted({name for *_, tests in tried for name in tests.split()})
        for name, (code, told) in zip(named, pool.map(lambda name: with_copy(run_tests, name), named), strict=True):
            if code:
                sys.exit(f"tests/test_{name}.py does not pass on the unchanged tree:\n{told}")
        caught = 0
        for (file, _, _, broken, _), (code, told) in zip(tried, pool.map(lambda m: with_copy(try_mutation, *m), tried), strict=True):
            caught += code == 1
            seen = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", told, re.M)
            state = {0: "MISSED", 1: "caught"}.get(code, f"pytest {code}")
            print(f"{state:8} {file:28} {broken:50} {seen[1] if seen else told.strip()[-200:] if code else ''}", flush=True)
    print(f"{caught} of {len(chosen)} caught")
    return int(bool(wrong) or caught < NEEDED * len(chosen))


def count(file, old):
    return (ROOT / "blossom" / file).read_text(encoding="utf-8").count(old) if old else 0


def copy_tree(target):
    left = shutil.ignore_patterns(".git", ".venv", "outputs", "__pycache__", ".pytest_cache", ".ruff_cache", ".snakemake")
    return shutil.copytree(ROOT, target, ignore=left, symlinks=True)


def run_in_copy(copies, task, *words):
    copy = copies.get()
    try:
        return task(copy, *words)
    finally:
        copies.put(copy)


def try_mutation(copy, file, old, new, broken, tests):
    path = copy / "blossom" / file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(old, new), encoding="utf-8")
    try:
        return run_tests(copy, *tests.split())
    finally:
        path.write_text(text, encoding="utf-8")


def run_tests(copy, *names):
    """(exit code of pytest: 0 all passed, 1 one failed, what it printed) of test files."""
    files = [f"tests/test_{name}.py" for name in names]
    own = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}  # a file that is restored may keep its time and size
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *files]
    done = subprocess.run(command, cwd=copy, env=os.environ | own, capture_output=True, text=True)
    return done.returncode, done.stdout[-3000:] + done.stderr[-500:]


if __name__ == "__main__":
    sys.exit(main())
