"""The peers' own environments: benchmarks/peers/<name>/, made from the locks in benchmarks/requirements/.

    python benchmarks/peers.py              make those that are missing, say which cannot be made
    python benchmarks/peers.py trl litgpt   these alone

An environment is made again when its lock changes. torch comes first and with its own dependencies; the rest comes
without, because the locks are complete (LLaMA-Factory and litgpt ask for more than what is measured needs).
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE / "peers"
ABOUT = {  # name -> what it is measured for
    "chinese-llama-alpaca": "vocabulary merge, as its merge_tokenizers.py does it",
    "mergekit": "starting rows (mergekit-tokensurgeon)",
    "deepfocus": "starting rows (FOCUS)",
    "trl": "training (SFTTrainer)",
    "llama-factory": "training",
    "litgpt": "training",
}


class Unavailable(RuntimeError):
    """A peer that could not be installed here; the text says why."""


def python(name):
    """The interpreter of a peer's environment, which is made first if need be; raises Unavailable."""
    lock, folder = HERE / "requirements" / f"{name}.txt", ENVIRONMENTS / name
    stamp, wanted = folder / ".ready", hashlib.sha256(lock.read_bytes()).hexdigest()
    interpreter = folder / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"  making the environment of {name} ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        torch = [line.split(";")[0].strip() for line in lock.read_text().splitlines() if line.startswith("torch==")]
        if torch:
            _install(interpreter, *torch)
        _install(interpreter, "--no-deps", "-r", str(lock))
        if name == "llama-factory":  # imports torchaudio, whose wheels want another torch, and never calls it for text
            site = _run([str(interpreter), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
            (Path(site) / "torchaudio.py").write_text("")
        stamp.write_text(wanted)
    return str(interpreter)


def _install(interpreter, *words):
    """uv where it is at hand (10 times faster), else pip. uv does not read pip's settings: they are handed on."""
    if not shutil.which("uv"):
        _run([str(interpreter), "-m", "pip", "install", "--quiet", *words])
        return
    settings = dict(
        line.split("=", 1) for line in _run([sys.executable, "-m", "pip", "config", "list"]).splitlines() if "=" in line
    )
    links = {v.strip("'") for k, v in settings.items() if k.endswith(".find-links")}
    words = [*words, *(word for link in links for word in ("--find-links", link))]
    _run(["uv", "pip", "install", "--quiet", "--python", str(interpreter), *words])


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "UV_LINK_MODE": "copy"})
    if done.returncode:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise Unavailable(" ".join(said[-3:])[:300])
    return done.stdout


def main(names):
    status = {}
    for name in names or ABOUT:
        if name not in ABOUT:
            sys.exit(f"'{name}' is no peer; there are: {', '.join(ABOUT)}")
        try:
            status[name] = python(name)
        except Unavailable as error:
            status[name] = f"cannot be installed here: {error}"
        print(f"{name:22} {ABOUT[name]:55} {status[name]}", flush=True)
    return json.dumps(status)


if __name__ == "__main__":
    main(sys.argv[1:])
