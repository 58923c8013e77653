"""Write the folder of a stage's run, and read those of finished runs.

The folder is `outputs/<scale>/<recipe>/<stage>/`. A run writes into `<stage>.unfinished/`, manifest.json last. Then this
folder takes the place of the other: an earlier run stays whole until the next one has finished.
"""

import functools
import hashlib
import itertools
import json
import os
import platform
import random
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import yaml
from filelock import FileLock, Timeout

from blossom.common import params, paths, stages

LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "datasets", "lm-eval", "sentencepiece")
RECORDS = ("params.yaml", "metrics.json")
SCORES = {"items.jsonl", "answers.jsonl"}  # that a report computes its numbers from
REPLIES = ("answers", "judge", "raters")  # of servers and people, paid for or waited for: a new run takes them over
KEPT = ("checkpoints", ".training.lock", "notebook.ipynb", "log.txt", *REPLIES)  # of an interrupted run
LARGE = 2_000_000_000  # bytes of an input from which a change is seen by names, sizes and times, not by content
OUTPUTS, HASHES = Path("{outputs}"), dict[str, str]  # the former stands in a manifest for the folder of all runs
MANIFEST = {"stage": str, "recipe": str, "inputs": HASHES, "outputs": HASHES, "versions": HASHES, "git_commit": str | None}
MANIFEST |= {"wall_seconds": float, "peak_bytes": int}

LOCKS = {}  # of the runs of this process: home -> FileLock, held from a run's start to its end


class Run:
    """One run of a stage. Making it seeds, creates `folder`, with only KEPT of an interrupted run in it, writes params.yaml.

    inputs  files or folders that will be read (see `add_inputs`)
    home    the stage's own folder, which `folder` becomes when the run is finished
    """

    def __init__(self, p, stage, inputs=()):
        self.p, self.stage, self.started, self.inputs = p, stage, time.monotonic(), {}
        seed_generators(p.seed)
        self.home = paths.stage_folder(p.outputs, p.scale, p.recipe, stage)
        self.add_inputs(inputs)
        (locks := paths.outputs_root(p.outputs) / ".locks").mkdir(parents=True, exist_ok=True)
        told = f"{self.home}: another process runs this stage here (an open notebook, or another batch): let it finish, or"
        if self.home not in LOCKS:
            file = locks / f"{p.scale}-{p.recipe}-{stage}"
            LOCKS[self.home] = take_lock(file, f"{told} choose another folder of `outputs`", params.ParameterError).lock
        self.folder = paths.unfinished_folder(self.home)
        self.folder.mkdir(parents=True, exist_ok=True)
        for entry in [entry for entry in self.folder.iterdir() if entry.name.split(".old")[0] not in KEPT]:
            paths.remove_path(entry)
        paths.clear_leftovers(self.home.parent, stage)
        for name in REPLIES:
            if (self.home / name).exists() and not (self.folder / name).exists():
                copied = self.folder / f".{name}.{os.getpid()}.part"  # a killed copy must not be taken for a whole one
                shutil.copytree(self.home / name, copied)
                os.replace(copied, self.folder / name)
        for folder, *_ in os.walk(self.folder):
            paths.clear_leftovers(folder)
        paths.write_text(self.folder / "params.yaml", yaml.safe_dump(asdict(p), allow_unicode=True, sort_keys=False))

    def figure(self, figure, name, dpi=150):
        """Save a matplotlib figure as `figures/<name>.png`, with its titles as metadata."""
        titles = [figure.get_suptitle(), *(a.get_title(place) for a in figure.axes for place in ("left", "center"))]
        with paths.write_atomically(self.folder / "figures" / f"{name}.png") as temporary:
            named = {"Title": "; ".join(filter(None, titles))}
            figure.savefig(temporary, format="png", dpi=dpi, bbox_inches="tight", metadata=named)

    def add_inputs(self, inputs):
        """Record what files and folders are when they are read, since they may change during the run; `home` is left out."""
        self.inputs = {name: hash_input(path) for name, path in name_inputs(inputs, self.home).items()} | self.inputs

    def finish(self, metrics, outputs=()):
        """Write metrics.json and a manifest (returned) with SHA-256s, also of `outputs` (names in `folder`), once."""
        if self.folder == self.home:
            raise params.ParameterError(f"{self.home}: this run has finished; to make another one, run all cells again")
        paths.write_json(self.folder / "metrics.json", metrics)
        manifest = {"stage": self.stage, "scale": self.p.scale, "recipe": self.p.recipe, "seed": self.p.seed}
        manifest |= {"inputs": self.inputs, "git_commit": git_commit(), "peak_bytes": peak_bytes()}
        manifest["outputs"] = {name: paths.hash_path(self.folder / name) for name in (*RECORDS, *outputs)}
        manifest["versions"] = {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES}
        # of a training on several cards, or one that was continued, this process has seen a part
        manifest["wall_seconds"] = round(max(time.monotonic() - self.started, metrics.get("seconds") or 0), 1)
        paths.write_json(self.folder / "manifest.json", manifest)
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)  # only now: a run killed earlier continues from them
        if "BLOSSOM_BATCH" not in os.environ:  # which publishes when the rest of the notebook has run too
            for name in ("notebook.ipynb", "log.txt"):  # of a batch that failed here
                paths.remove_path(self.folder / name)
            paths.replace_path(self.folder, self.home)
            self.folder = self.home
            if lock := LOCKS.pop(self.home, None):  # in a batch the end of this process releases it
                lock.release(force=True)
        print(f"Finished in {manifest['wall_seconds']:,.0f} s. Written to {shorten_paths(str(self.home))}")
        return manifest


def take_lock(file, told, error=RuntimeError):
    """Lock a file and return a context that unlocks it; an `error` that says `told` where another process has locked it."""
    try:
        return FileLock(file).acquire(timeout=0)
    except Timeout:
        raise error(told) from None


def name_inputs(inputs, home):
    """{name in a manifest: path} of what a run reads outside its folder `home`; OUTPUTS in a name holds in copies too."""
    root, found = home.parents[2], (Path(os.path.abspath(path)) for path in inputs)
    found = [path for path in found if not path.resolve().is_relative_to(home)]
    return {str(OUTPUTS / p.relative_to(root) if p.is_relative_to(root) else shorten_paths(str(p))): p for p in found}


def hash_input(path):
    """SHA-256 (hex) of a file or folder that a run reads; of an output of another run as the manifest there has it."""
    path = Path(path).resolve()
    made = path.with_name("manifest.json")
    outputs = paths.read_json(made, MANIFEST)["outputs"] if path.parent.name in stages.STAGES and made.exists() else {}
    return outputs.get(path.name) or hash_unchanged(path, LARGE)


def hash_unchanged(path, large=float("inf")):
    """As `paths.hash_path`, but what has not changed is read once a process, and over `large` bytes only names and times."""
    path = Path(path).resolve()
    stats = tuple((str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns) for f in paths.list_files(path))
    return _hash_once(path, stats, sum(size for _, size, _ in stats) > large)


@functools.cache
def _hash_once(path, stats, large):
    return hashlib.sha256(repr(stats).encode()).hexdigest() if large else paths.hash_path(path)


def find_changed_input(folder, manifest):
    """The path of the first input of the finished run in `folder` that is not what the run read, or None."""
    located = ((locate_input(folder, name), digest) for name, digest in manifest["inputs"].items())
    return next((path for path, digest in located if path.exists() and hash_input(path) != digest), None)


def locate_input(folder, name):
    """The path of an input that the manifest of the run in `folder` names."""
    root = (folder / "params.yaml").resolve().parents[3]  # of the run itself, where `folder` has links to another one
    own = Path(name).is_relative_to(OUTPUTS)
    return root / Path(name).relative_to(OUTPUTS) if own else paths.ROOT / os.path.expanduser(name)


def peak_bytes():
    """The largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def shorten_paths(text):
    """A text without the absolute paths of the project and of the home folder: "/home/x/models" -> "~/models"."""
    for folder, shown in ((paths.ROOT, ""), (os.path.expanduser("~"), "~/")):
        if f"{folder}/" in text:  # a page with pictures has megabytes, which the expression takes long to search
            text = re.sub(rf"(?<![\w.~:/]){re.escape(str(folder))}/", shown, text)
    return text


def seed_generators(seed):
    """Seed the generators of random, numpy and torch (and its cards): for every stage, here alone."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def git_commit():
    """The repository's commit, with "+changes" when tracked files differ from it; None without git, or outside a clone."""
    above = {"GIT_CEILING_DIRECTORIES": str(paths.ROOT.parent)}  # another project's clone, in which a copy of this one lies
    words = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    try:
        done = subprocess.run(words, cwd=paths.ROOT, env=os.environ | above, capture_output=True, text=True)
    except OSError:  # git is not installed
        return None
    return done.stdout.strip() or None


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, read from its folder."""

    folder: Path
    recipe: str
    stage: str
    params: dict
    metrics: dict
    manifest: dict


def read_run(folder, check=RECORDS):
    """Read the FinishedRun in a folder; ValueError if it is not finished, or an output is missing or was changed.

    check  names of the outputs whose SHA-256 is compared with the manifest's; None: all, which takes time
    """
    file = (folder := Path(folder)) / "manifest.json"
    if not file.exists():
        raise ValueError(f"{folder}: no finished run (it has no manifest.json)")
    try:
        manifest = paths.read_json(file, MANIFEST)
    except ValueError as error:
        raise ValueError(f"{error}: delete it and run the stage again") from None
    for name in manifest["outputs"] if check is None else [*check, *sorted(SCORES & manifest["outputs"].keys())]:
        found = folder / name
        if not found.exists() or paths.hash_path(found) != manifest["outputs"].get(name):
            what = "was changed after its run (its SHA-256 is not the manifest's)" if found.exists() else "is missing"
            raise ValueError(f"{found} {what}: put it back, or delete {file} and run the stage again")
    settings, metrics = params.load_yaml(folder / "params.yaml"), paths.read_json(folder / "metrics.json", dict)
    return FinishedRun(folder, folder.parent.name, manifest["stage"], settings, metrics, manifest)


def read_lineage(folder):
    """The runs that made the model in `folder`, oldest first; ValueError if a parent ran again after its child."""
    line = [read_run(folder := Path(folder).resolve(), check=None)]
    while start := params.starting_stage(line[0].recipe, line[0].stage):
        line.insert(0, read_run(folder.parents[1].joinpath(*start)))
    for run in line:
        if "model" not in run.manifest["outputs"]:
            makers = ", ".join(stages.MODEL_STAGES)
            raise ValueError(f"{run.folder}: stage {run.stage} makes no model; expected one of {makers}")
    for parent, child in itertools.pairwise(line):
        check_parent(parent, child)
    return line


def check_parent(parent, child):
    """Raise ParameterError where a run was made from another model than is in `parent`, as when a recipe's file changed."""
    if (model := parent.manifest["outputs"].get("model")) and model not in child.manifest["inputs"].values():
        told = f"{child.folder} was not made from the model that is now in {parent.folder}"
        raise params.ParameterError(f"{told}: run {child.stage} of {child.recipe} again")


class MissingRun(params.ParameterError):
    """An earlier run that a stage reads is missing or older than its inputs; the message has the command that makes it."""


def read_runs(outputs, scale, recipes):
    """Read all runs of some recipes and those that made their models: {(recipe, stage): FinishedRun}, oldest first."""
    if not recipes:
        raise ValueError("recipes: expected at least one recipe for the report, found none")
    return _read_all(outputs, scale, params.report_runs(recipes))


def _read_all(outputs, scale, wanted, settings=None, check=RECORDS):
    folders = {pair: paths.stage_folder(outputs, scale, *pair) for pair in wanted}
    missing = {pair: "has not run" for pair, folder in folders.items() if not (folder / "manifest.json").exists()}
    found = {pair: read_run(folder, check) for pair, folder in folders.items() if pair not in missing}
    for pair, run in found.items():
        if changed := find_changed_input(run.folder, run.manifest):
            missing[pair] = f"is older than {shorten_paths(str(changed))}"
    if not missing:
        return found
    config = [f"outputs={outputs}"] if outputs != "outputs" else []
    config += [f"set={json.dumps(settings, ensure_ascii=False)}"] if settings else []
    words = [sys.executable, "-m", "snakemake", "--cores", "2", *(["--config", *config] if config else []), "--"]
    command = shlex.join([*words, *(os.path.join(outputs, scale, *pair, "manifest.json") for pair in missing)])
    named = ", ".join(f"{stage} of {recipe} {why}" for (recipe, stage), why in missing.items())
    raise MissingRun(f"scale {scale}: {named}. Run:\n  cd {shlex.quote(str(paths.ROOT))} && {command}")


def find_run(runs, stage, recipe=None):
    """The run of a stage in the result of `read_runs`, or None: of `recipe` or its nearest parent; else the last one."""
    if recipe is None:
        return next((run for (_, s), run in reversed(runs.items()) if s == stage), None)
    return next((runs[r.name, stage] for r in params.recipe_lineage(recipe) if (r.name, stage) in runs), None)


def require_model(p, stage):
    """The folder of the model that a stage starts from, None for the base model; MissingRun if it is not made yet."""
    if not (start := params.starting_stage(p.recipe, stage)):
        return None
    mine, usual = asdict(p), asdict(params.effective_params(start[1], p.scale, start[0]))
    shared = [name for name in stages.SHARED if name in mine]
    changed = {name: mine[name] for name in shared if mine[name] != usual[name]}
    made = _read_all(p.outputs, p.scale, [start], changed, check=None)[start]
    line, start = [made], params.starting_stage(*start)
    while start and (home := paths.stage_folder(p.outputs, p.scale, *start)).exists():  # older ones trained it too
        line, start = [*line, read_run(home)], params.starting_stage(*start)
        check_parent(*line[:-3:-1])
    read = [(r, name, r.params.get(name, mine[name])) for r in line for name in shared]
    for r, name, there in [found for found in read if found[2] != mine[found[1]]]:
        told = f"{name}: {r.recipe}/{r.stage} was made with {params.shorten(there)}, here it is {params.shorten(mine[name])}"
        seen = r.stage != stages.MERGED and params.releases_lines(name, mine[name], there, r.params)
        if seen or name == "base_model":
            told += "; lines that it was trained on would count as unseen" if seen else ""
            raise params.ParameterError(f"{told}; run {r.stage} with it first, or choose another folder of `outputs`")
        print(f"note: {told}")
    return made.folder / "model"
