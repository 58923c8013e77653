"""The runs that Snakemake plans: what each one reads, which are the same, and the points of a sweep.

A run is named by its root (the outputs folder, or a point of a sweep), scale, recipe and stage. Two runs with the same
parameters that read the same runs are made once: the second folder then holds links to the first.
"""

import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blossom.common import params, paths, shell
from blossom.common.stages import MODEL_STAGES, STAGES

MEMORY_MB = 4000  # for a stage before one like it has run: more than any takes at scale laptop


class RunName(NamedTuple):
    """A run of a stage; its folder is root/scale/recipe/stage."""

    root: str
    scale: str
    recipe: str
    stage: str

    @property
    def folder(self):
        """Its Path."""
        return paths.stage_folder(*self)


class Plan:
    """All runs below the folder `outputs`.

    overrides    {parameter: value}, above every scale and recipe
    definitions  the folder of the sweeps' files
    """

    def __init__(self, outputs, overrides=None, definitions=paths.ROOT / "params" / "sweeps"):
        self.outputs, self.overrides, self.definitions = outputs, overrides or {}, definitions
        self.effective, self.key = functools.cache(self.effective), functools.cache(self.key)

    @functools.cached_property
    def sweeps(self):
        """Name -> Sweep of every file in the folder of definitions."""
        return {file.stem: read_sweep(file) for file in sorted(Path(self.definitions).glob("*.yaml"))}

    @functools.cached_property
    def settings(self):
        """Root -> overrides of the runs below it: of the outputs folder, and of every point of every sweep."""
        found = {self.outputs: self.overrides}
        for name, sweep in self.sweeps.items():
            found |= {f"{self.outputs}/sweeps/{name}/{point}": self.overrides | own for point, own in sweep.points.items()}
        return found

    def effective(self, run):
        """The parameters of a run (its stage's dataclass)."""
        own = {"outputs": run.root} | self.settings[run.root]
        return params.effective_params(run.stage, run.scale, run.recipe, **own)

    def needs(self, run):
        """The runs that a run reads: list of RunName."""
        p = self.effective(run)
        if run.stage == "07_report":
            return [run._replace(recipe=r, stage=s) for r in p.recipes for s in params.read_recipe(r).stages]
        found = [params.starting_stage(run.recipe, run.stage)]
        if run.stage == "03_bilingual_pretraining" and p.same_text_as:
            found.append(params.starting_stage(p.same_text_as, run.stage))
        elif run.stage == "05_benchmark_eval":  # the scores of the others, so that no model is scored twice
            line = [r.name for r in params.recipe_lineage(run.recipe)]
            for name in (n for b in p.beside for n in (line if b == "parents" else [b])):
                if name != run.recipe and params.recipe_file(name).exists():
                    scored = run.stage in params.read_recipe(name).stages
                    found.append((name, run.stage) if scored else params.starting_stage(name, run.stage))
        elif run.stage == "06_qualitative_eval":
            named = [n for n in (p.compare_with, *p.more_models) if params.recipe_file(n).exists()]
            found += [params.starting_stage(n, run.stage) for n in named]
        return [run._replace(recipe=r, stage=s) for r, s in dict.fromkeys(f for f in found if f)]

    def key(self, run):
        """A digest of everything that a run's result depends on: two runs with the same key have the same result."""
        hidden = ("outputs", "recipe") if run.stage in MODEL_STAGES else ("outputs",)  # other results name the recipe
        own = {name: value for name, value in asdict(self.effective(run)).items() if name not in hidden}
        text = json.dumps([run.stage, own, [self.key(n) for n in self.needs(run)]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def twin(self, run):
        """Another run with the same result, to link instead of making this one; None when this one must be made.

        A finished run is preferred to the first in the plan's order: the outputs folder's recipes, then the sweep's points.
        """
        if run.stage == "07_report" or is_own(run.folder):
            return None
        names = recipe_names() if run.stage in MODEL_STAGES else [run.recipe]
        recipes = [r for r in names if run.stage in params.read_recipe(r).stages]
        roots = [r for r in self.settings if r == self.outputs or os.path.dirname(r) == os.path.dirname(run.root)]
        candidates = [run._replace(root=root, recipe=r) for root in roots for r in recipes]
        same = [other for other in candidates if self.key(other) == self.key(run)]
        chosen = next((other for other in same if is_own(other.folder)), same[0])
        return None if chosen == run else chosen

    def memory(self, run):
        """MB to keep free for a run: 1.1 times the most that a finished run of its stage and scale has taken."""
        finished = paths.outputs_root(self.outputs).glob(f"{run.scale}/*/{run.stage}/manifest.json")
        peaks = [paths.read_json(manifest)["peak_bytes"] for manifest in finished]
        return int(1.1 * max(peaks) / 1e6) if peaks else MEMORY_MB

    def sweep_runs(self, name, scale):
        """The runs that a sweep compares: (point, recipe, stage) -> RunName."""
        sweep = self.sweeps[name]
        return {
            (point, recipe, stage): RunName(f"{self.outputs}/sweeps/{name}/{point}", scale, recipe, stage)
            for point, recipe, stage in itertools.product(sweep.points, sweep.recipes, sweep.stages)
        }


def is_own(folder):
    """Whether a folder holds a finished run, and not links to another one."""
    return (folder / "manifest.json").exists() and not (folder / "params.yaml").is_symlink()


def link_run(made, folder):
    """Fill a run's folder with links to the files of a run with the same result; the manifest is copied, last."""
    made, folder = Path(made), Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for entry in sorted(made.iterdir()):
        if entry.name != "manifest.json" and not entry.name.startswith("."):
            (folder / entry.name).symlink_to(os.path.relpath(entry, folder))
    paths.write_text(folder / "manifest.json", (made / "manifest.json").read_text(encoding="utf-8"))


def recipe_names():
    """The names of all files in params/recipes, sorted."""
    return sorted(file.stem for file in params.recipe_file("any").parent.glob("*.yaml"))


def check_recipes(names=()):
    """Read `names` and all recipes; ParameterError for a missing recipe or parent, a loop, or a wrong name in a file."""
    for name in [*names, *recipe_names()]:
        params.recipe_lineage(name)


# -------------------------------------------------------------------------------------------------------------- sweeps


class Sweep(BaseModel):
    """One file of params/sweeps: every combination of the grid's values, run with each recipe.

    stages    the stages compared; the runs that they read are made too
    repeats   parameters whose values are repetitions: means and intervals are over them
    compare   label -> [arm, arm]: the second minus the first;  measures  label -> "stage/metric.path"
    """

    model_config = ConfigDict(extra="forbid")

    question: str
    recipes: list[str] = Field(min_length=1)
    stages: list[str] = Field(min_length=1)
    grid: dict[str, Annotated[list, Field(min_length=1)]]
    repeats: list[str] = ["seed"]
    compare: dict[str, list[str]] = {}
    measures: dict[str, str] = {}

    @functools.cached_property
    def points(self):
        """Folder name -> {parameter: value}, of every combination of the grid."""
        points = {}
        for values in itertools.product(*self.grid.values()):
            point = dict(zip(self.grid, values, strict=True))
            words = [re.sub(r"[^\w.+=-]+", "-", f"{name}={value}").strip("-") for name, value in point.items()]
            folder = ",".join(words) or "only"
            if folder in points:
                raise ValueError(f"grid: two points would write one folder, {folder}")
            points[folder] = point
        return points

    def arm(self, point, recipe):
        """The name of a recipe at a point, without the parameters that are repetitions or the same at all points."""
        values = self.points[point]
        varied = [k for k, found in self.grid.items() if k not in self.repeats and len(found) > 1]
        return ", ".join([recipe, *(f"{k}={values[k]}" for k in varied)])

    @property
    def arms(self):
        """Names of all arms, in order."""
        return list(dict.fromkeys(self.arm(point, recipe) for recipe in self.recipes for point in self.points))


def read_sweep(file):
    """The Sweep of a YAML file; ValueError names the file and what is wrong with it.

    Without `compare`, every arm is compared with the first.
    """
    file = Path(file)
    try:
        sweep = Sweep(**{"question": file.stem} | params.load_yaml(file))
        params.check_names(sweep.grid, where="grid")
        made = {s for r in sweep.recipes for line in params.recipe_lineage(r) for s in line.stages}
        taken = {f.name for s in made & {*MODEL_STAGES, *sweep.stages} for f in fields(STAGES[s])}
        if unused := {*sweep.grid} - taken:  # its points would be the same run under several names
            raise ValueError(f"grid: no stage of {', '.join(sweep.recipes)} takes '{min(unused)}'")
        sweep.repeats = [name for name in sweep.repeats if name in sweep.grid]
        first, *others = sweep.arms
        sweep.compare = sweep.compare or {f"against {first}: {arm}": [first, arm] for arm in others}
        for what, pair in sweep.compare.items():
            if len(pair) != 2 or {*pair} - {*sweep.arms}:
                raise ValueError(f"compare: {what}: expected two of {'; '.join(sweep.arms)}, found {pair!r}")
    except ValidationError as error:
        message = f"{file}: {params.explain_error(error)}; a sweep has {', '.join(Sweep.model_fields)}"
        raise ValueError(message) from None
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return sweep


if __name__ == "__main__":
    shell.run(lambda: link_run(*sys.argv[1:]))
