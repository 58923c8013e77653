"""What both benchmarks share: a measurement is a process of its own, and a result is a table and a JSON file."""

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import peers

from blossom.assets.registry import cache_folder
from blossom.common import paths, runs

HERE = Path(__file__).resolve().parent
OURS = "blossom"


class Failed(RuntimeError):
    """A measurement that could not be made; the text says why."""


def interpreter(peer):
    """The interpreter that measures a tool: the project's own for ours and for plain transformers, else the peer's."""
    return sys.executable if peer in (OURS, "transformers") else peers.python(peer)


def measure(peer, script, asked, prefix=""):
    """Run inside/<script> in a peer's environment; its result (dict).

    asked   what the script reads from its JSON file; "folder" (a temporary one) and "result" are added
    prefix  words before the command, e.g. "taskset -c 0,1"

    Raises Failed with the reason: not installable, stopped with an error, no result.
    """
    try:
        python = interpreter(peer)
    except peers.Unavailable as error:
        raise Failed(f"cannot be installed here: {error}") from None
    with tempfile.TemporaryDirectory() as folder:
        spec, result = Path(folder) / "spec.json", Path(folder) / "result.json"
        spec.write_text(json.dumps({"folder": folder, "result": str(result), **asked}), encoding="utf-8")
        command = [*shlex.split(prefix), python, str(HERE / "inside" / script), str(spec)]
        done = subprocess.run(command, cwd=folder, env=os.environ | environment(folder), capture_output=True, text=True)
        if done.returncode or not result.exists():
            said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise Failed(said[-1][:160] if said else f"exit {done.returncode}")
        return json.loads(result.read_text())


def environment(folder):
    """The same for every tool: no network, caches that nobody finds warm, the allocator's huge pages, all cores."""
    return {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": folder,
        "XDG_CACHE_HOME": folder,
        "BLOSSOM_CACHE": str(_cache()),
        "TORCHINDUCTOR_CACHE_DIR": str(peers.ENVIRONMENTS / "inductor"),  # compiling is not what is timed
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        "TOKENIZERS_PARALLELISM": "true",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def _cache():

    return cache_folder()


def median(values):
    """The median of some numbers."""
    return statistics.median(values)


def table(rows):
    """A markdown table of dicts with the same keys."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_shown(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _shown(value):
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def machine():
    """The machine and the libraries that a result belongs to."""
    import torch

    model = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "git_commit": runs.git_commit(),
    }


def _lines(path):
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def report(name, title, parts, result):
    """Print the tables and write them to results/<name>.md, and the numbers to results/<name>.json.

    parts  list of (heading, rows, remark)
    """
    about = machine()
    text = [f"# {title}", "", f"{about['processor']}, {about['cores']} cores, torch {about['torch']}."]
    for heading, rows, remark in parts:
        text += ["", f"## {heading}", "", table(rows), *(["", remark] if remark else [])]
    paths.write_json(HERE / "results" / f"{name}.json", {"machine": about, **result})
    paths.write_text(HERE / "results" / f"{name}.md", "\n".join(text) + "\n")
    print("\n".join(text))
