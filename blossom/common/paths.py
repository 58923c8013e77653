"""Where things lie, and how they get there whole.

A run of a stage owns one folder, `outputs/<scale>/<recipe>/<stage>/`. Its `manifest.json` is written last,
so a folder with a manifest is a finished run and a folder without one is an interrupted run.
"""

import errno
import hashlib
import json
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, one's share used up, larger than a file may be
LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "datasets", "lm-eval", "sentencepiece")


@contextmanager
def written(target):
    """Yield a temporary path beside `target` (file or folder); rename it into place only if the block succeeds.

    Nothing is ever half-written: a failure or a full disk removes the temporary path and leaves an earlier `target` alone.
    Raises OSError naming `target` when the disk is full, whichever library noticed it.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    _remove(temporary)
    try:
        yield temporary
        if target.is_dir() and temporary.is_dir():  # a folder cannot be renamed over a full one
            old = target.with_name(f".{target.name}.{os.getpid()}.old")
            _remove(old)
            os.replace(target, old)
            os.replace(temporary, target)
            _remove(old)
        else:
            os.replace(temporary, target)
    except Exception as error:
        if is_full(error):
            number = getattr(error, "errno", None) or errno.ENOSPC
            raise OSError(number, "no space left to write it; free some, then run again", str(target)) from None
        raise
    finally:
        _remove(temporary)


def is_full(error):
    """Does an error (Python's, or a library's with the same words) say that the disk, or one's share of it, is full?"""
    return getattr(error, "errno", None) in FULL or any(os.strerror(n) in str(error) for n in FULL)


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path, text):
    """Write `text` (str) to `path` as UTF-8, whole or not at all."""
    with written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
    """Write `value` to `path` as readable JSON with Korean left as Korean; NaN is refused (ValueError)."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def read_json(path):
    """The value in a JSON file; raises FileNotFoundError or ValueError naming the file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def sha256(path):
    """Hex digest of a file, or of a folder (names and contents of its files in sorted order)."""
    path = Path(path)
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    for file in files:
        if file != path:
            digest.update(str(file.relative_to(path)).encode())
        with open(file, "rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def outputs_root(outputs):
    """The outputs folder of a run: absolute as given, relative below the repository's root."""
    return (ROOT / outputs).resolve()


def stage_folder(outputs, scale, recipe, stage):
    """`outputs/<scale>/<recipe>/<stage>`, absolute; not created."""
    return outputs_root(outputs) / scale / recipe / stage


def require_stage(outputs, scale, recipe, stage, settings=None):
    """The folder of a finished earlier run; makes it first, with Snakemake, if it is missing.

    So a notebook opened alone in Jupyter works on a fresh clone. `settings` (parameter -> value) are above all files then.
    Raises RuntimeError with the command to run by hand if the earlier stage cannot be made, ValueError when its folder
    was edited after the run.
    """
    folder = stage_folder(outputs, scale, recipe, stage)
    manifest = folder / "manifest.json"
    if manifest.exists():
        check_run(folder)
        return folder
    command = snakemake_command(manifest, outputs, settings)
    print(f"{stage} of {recipe} has not run yet at scale {scale}: running it now\n  {shlex.join(command)}", flush=True)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0 or not manifest.exists():
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        raise RuntimeError(f"{stage} of {recipe} could not be made. Run by hand:\n  {shlex.join(command)}\n{tail}")
    return folder


def check_run(folder):
    """The manifest of a finished run, if all it says it made is still as it was; ValueError names what was changed."""
    folder = Path(folder)
    manifest = read_json(folder / "manifest.json")
    made = manifest.get("outputs") if isinstance(manifest, dict) else None
    if not isinstance(made, dict):
        raise ValueError(f"{folder / 'manifest.json'}: lists no outputs: delete it and run the stage again")
    for name, digest in made.items():
        found = folder / name
        if not found.exists() or sha256(found) != digest:
            what = "was changed after its run (its sha256 is not the manifest's)" if found.exists() else "is gone"
            raise ValueError(f"{found} {what}: put it back, or delete {folder / 'manifest.json'} and run the stage again")
    return manifest


def snakemake_command(target, outputs, settings=None):
    """The Snakemake call (list of words) that makes `target`, a file below the outputs folder, with some parameters set."""
    config = [f"outputs={outputs}", *([f"set={json.dumps(settings, ensure_ascii=False)}"] if settings else [])]
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(ROOT)]
    return [*snakemake, "--cores", "2", "--nolock", "--config", *config, "--", _from_root(target, outputs)]


def _from_root(target, outputs):
    """`target` as the Snakefile spells it: its outputs folder as given, then the rest."""
    return os.path.join(outputs, Path(target).relative_to(outputs_root(outputs)))


class Run:
    """One run of a stage: its folder, its clock, its records.

    folder   `outputs/<scale>/<recipe>/<stage>`; an earlier manifest is removed at the start
    finish   writes metrics.json, then manifest.json, the mark of a finished run
    """

    def __init__(self, p, stage):
        self.p, self.stage, self.started = p, stage, time.time()
        self.folder = stage_folder(p.outputs, p.scale, p.recipe, stage)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "manifest.json").unlink(missing_ok=True)
        write_text(self.folder / "params.yaml", yaml.safe_dump(asdict(p), allow_unicode=True, sort_keys=False))

    def figure(self, figure, name, dpi=150):
        """Save a matplotlib figure as `figures/<name>.png`; returns the figure, so a cell can end in it."""
        with written(self.folder / "figures" / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=dpi, bbox_inches="tight")
        return figure

    def finish(self, metrics, inputs=(), outputs=()):
        """Write metrics.json and manifest.json, and print where.

        metrics  JSON-able dict of what this run measured
        inputs   files or folders read (recorded with their sha256)
        outputs  names below the run's folder that it made; all must exist (FileNotFoundError)
        return   the manifest (dict)
        """
        write_json(self.folder / "metrics.json", metrics)
        produced = {name: sha256(self._existing(name)) for name in ("params.yaml", "metrics.json", *outputs)}
        manifest = {
            "stage": self.stage,
            "scale": self.p.scale,
            "recipe": self.p.recipe,
            "seed": self.p.seed,
            "inputs": {_tidy(path): sha256(path) for path in inputs},
            "outputs": produced,
            "versions": {"python": platform.python_version(), **_versions()},
            "git_commit": git_commit(),
            "wall_seconds": round(time.time() - self.started, 1),
            "peak_bytes": peak_bytes(),
        }
        write_json(self.folder / "manifest.json", manifest)
        print(f"Finished in {manifest['wall_seconds']:,.0f} s. Written to {_tidy(self.folder)}")
        return manifest

    def _existing(self, name):
        path = self.folder / name
        if not path.exists():
            raise FileNotFoundError(f"{path}: the stage says it makes this, but it is not there")
        return path


def _tidy(path):
    """A path as the manifest shows it: below the root where it lies there, else below the home folder."""
    path = Path(path).resolve()
    for base, prefix in ((ROOT, ""), (Path.home(), "~/")):
        if path.is_relative_to(base):
            return prefix + str(path.relative_to(base))
    return str(path)


def _versions():
    return {name: metadata.version(name) for name in LIBRARIES}


def git_commit():
    """The commit of the working tree, with `+changes` when tracked files differ from it; "unknown" outside git."""

    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    commit = git("rev-parse", "HEAD")
    if not commit:
        return "unknown"
    return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def peak_bytes():
    """The most memory this process has held so far, in bytes."""
    scale = 1 if platform.system() == "Darwin" else 1024  # Linux counts in kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
