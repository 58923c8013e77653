"""The runs that Snakemake plans: what each one reads, which are the same, and the points of a sweep.

Two runs with the same parameters and the same inputs are made once; the second folder then has links to the first.
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

from blossom.assets.registry import list_named_files
from blossom.common import params, paths, runs, stages


class RunName(NamedTuple):
    """The name of a run of a stage. `root` is the outputs folder, or the folder of a sweep's point."""

    root: str
    scale: str
    recipe: str
    stage: str

    @property
    def folder(self):
        return paths.stage_folder(*self)


class Plan:
    """All runs below the folder `outputs`.

    overrides    {parameter: value}, which take precedence over the files of scales and recipes
    definitions  the folder of the sweeps' YAML files
    """

    def __init__(self, outputs, overrides=None, definitions=paths.ROOT / "params" / "sweeps"):
        self.outputs, self.overrides, self.definitions = outputs, overrides or {}, definitions
        self.effective, self.key = functools.cache(self.effective), functools.cache(self.key)

    @functools.cached_property
    def sweeps(self):
        """Name -> Sweep."""
        return {file.stem: read_sweep(file) for file in sorted(Path(self.definitions).glob("*.yaml"))}

    @functools.cached_property
    def settings(self):
        """Root -> overrides of the runs below it, for the outputs folder and every point of every sweep."""
        found = {self.outputs: self.overrides}
        for name, sweep in self.sweeps.items():
            found |= {f"{self.outputs}/sweeps/{name}/{point}": self.overrides | own for point, own in sweep.points.items()}
        return found

    def effective(self, run):
        """The checked parameters of a run, in its stage's dataclass."""
        params.require_stage(run.recipe, run.stage)
        return params.effective_params(run.stage, run.scale, run.recipe, **{"outputs": run.root} | self.settings[run.root])

    def needs(self, run):
        """The runs whose results a run reads: list of RunName."""
        p = self.effective(run)
        if run.stage in stages.READERS:
            return [run._replace(recipe=r, stage=s) for r, s in params.report_runs(p.recipes)]
        found = [params.starting_stage(run.recipe, run.stage)]
        if run.stage == stages.SCORED:  # it reads other recipes' scores, so that no model is scored twice
            line = [r.name for r in params.recipe_lineage(run.recipe)]
            for name in (n for b in p.beside for n in (line if b == "parents" else [b])):
                if name != run.recipe and params.recipe_file(name).exists():
                    scored = run.stage in params.read_recipe(name).stages
                    found.append((name, run.stage) if scored else params.starting_stage(name, run.stage))
        elif run.stage == stages.JUDGED:
            named = [n for n in (p.compare_with, *p.more_models) if params.recipe_file(n).exists()]
            found += [params.starting_stage(n, run.stage) for n in named]
        return [run._replace(recipe=r, stage=s) for r, s in dict.fromkeys(f for f in found if f)]

    def key(self, run):
        """A hash of all that a run's result depends on: runs with equal keys have equal results."""
        hidden = ("outputs", "recipe") if run.stage in stages.MODEL_STAGES else ("outputs",)  # others write the name
        own = {name: value for name, value in asdict(self.effective(run)).items() if name not in hidden}
        text = json.dumps([run.stage, own, [self.key(n) for n in self.needs(run)]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def is_changed(self, run):
        """Whether a finished run has to be made again, since a parameter or an input of it is another now."""
        file, asked, settings = run.folder / "manifest.json", self.effective(run), run.folder / "params.yaml"
        if not file.exists() or not settings.exists():
            return False
        made, manifest, home = params.load_yaml(settings), paths.read_json(file, runs.MANIFEST), settings.resolve().parent
        free = {"outputs"} if is_own(run.folder) else {"outputs", "recipe"}  # links are to a run of another name
        other = any(made[name] != value for name, value in asdict(asked).items() if name in made and name not in free)
        new = runs.name_inputs(list_named_files(asked), home).keys() - manifest["inputs"].keys()
        return bool(other or new or runs.find_changed_input(run.folder, manifest))

    def twin(self, run):
        """Another run with the same result, to link to instead of running this one; None when this one must run.

        A finished run is preferred, else the first one: recipes of the outputs folder come before points of the sweep.
        """
        if run.stage in stages.READERS or is_own(run.folder):
            return None
        names = params.recipe_names() if run.stage in stages.MODEL_STAGES else [run.recipe]
        recipes = [r for r in names if run.stage in params.read_recipe(r).stages]
        roots = [r for r in self.settings if r == self.outputs or os.path.dirname(r) == os.path.dirname(run.root)]
        candidates = [run._replace(root=root, recipe=r) for root in roots for r in recipes]
        same = [other for other in candidates if self.key(other) == self.key(run)]
        chosen = next((other for other in same if is_own(other.folder)), same[0])
        return None if chosen == run else chosen

    def find_largest(self, run, name):
        """The largest number of this name in the manifests of finished runs of the same stage and scale; 0 without one."""
        finished = paths.outputs_root(self.outputs).glob(f"{run.scale}/*/{run.stage}/manifest.json")
        return max((paths.read_json(manifest, {name: float})[name] for manifest in finished), default=0)

    def set_damaged_aside(self):
        """Rename each manifest.json that is damaged, so that its stage counts as not finished, and say so."""
        for root in self.settings:
            for file in paths.outputs_root(root).glob("*/*/*/manifest.json"):
                try:
                    paths.read_json(file, runs.MANIFEST)
                except ValueError as error:
                    file.rename(file.with_name("manifest.damaged.json"))
                    print(f"{error}: this stage counts as not finished", file=sys.stderr)

    def sweep_runs(self, name, scale):
        """The runs that a sweep compares: (point, recipe, stage) -> RunName."""
        sweep = self.sweeps[name]
        keys = itertools.product(sweep.points, sweep.recipes, sweep.stages)
        return {(point, *run): RunName(f"{self.outputs}/sweeps/{name}/{point}", scale, *run) for point, *run in keys}


def is_own(folder):
    """Whether a folder has a finished run of its own, not links to another one."""
    return (folder / "manifest.json").exists() and not (folder / "params.yaml").is_symlink()


def link_run(made, folder):
    """Put links to the files of the run in the folder `made` in the place of `folder`; the manifest is copied."""
    made, folder = Path(made), Path(folder)
    with paths.write_atomically(folder) as temporary:
        temporary.mkdir()
        for entry in sorted(made.iterdir()):
            if entry.name != "manifest.json" and not entry.name.startswith("."):
                (temporary / entry.name).symlink_to(os.path.relpath(entry, folder))
        shutil.copyfile(made / "manifest.json", temporary / "manifest.json")


class Sweep(BaseModel):
    """A file of params/sweeps: all combinations of the values in `grid`, run with each recipe."""

    model_config = ConfigDict(extra="forbid")

    question: str
    texts: str = ""  # whose bits/byte the measures are, in words
    recipes: list[str] = Field(min_length=1)
    stages: list[str] = Field(min_length=1)  # compared; the stages before them run too
    grid: dict[str, Annotated[list, Field(min_length=1)]]  # parameter -> values
    repeats: list[str] = ["seed"]  # parameters whose values are repetitions: means and intervals are over them
    compare: dict[str, list[str]] = {}  # label -> [arm, arm]: the second minus the first
    measures: dict[str, str] = {}  # label -> "stage/metric.path"
    curves: list[str] = []  # measures of which the first two recipes are compared over amounts
    over: dict[str, str] = {}  # label -> the measure that curves are drawn over

    @functools.cached_property
    def points(self):
        """Folder name -> {parameter: value}, for every combination of the grid's values."""
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
        """The arm that a point and recipe belong to: recipe and varied parameters, without those that are repetitions."""
        varied = [k for k, found in self.grid.items() if k not in self.repeats and len(found) > 1]
        return ", ".join([recipe, *(f"{k}={self.points[point][k]}" for k in varied)])

    @property
    def arms(self):
        return list(dict.fromkeys(self.arm(point, recipe) for recipe in self.recipes for point in self.points))


def read_sweep(file):
    """Read a sweep's YAML file; ValueError names the file.

    Without `compare`, the arms of each point are compared with its first one; with one recipe, all arms with the first.
    """
    file = Path(file)
    try:
        sweep = Sweep.model_validate({"question": file.stem} | params.load_yaml(file))
        params.check_names(sweep.grid, where="grid")
        if fixed := [name for name in params.FOLDERS if name in sweep.grid]:
            raise ValueError(f"grid: {fixed[0]} cannot vary: the target names the scale, `recipes` names the recipes")
        for recipe, stage in itertools.product(sweep.recipes, sweep.stages):
            params.require_stage(recipe, stage)
        made = {s for r in sweep.recipes for line in params.recipe_lineage(r) for s in line.stages}
        taken = {f.name for s in made & {*stages.MODEL_STAGES, *sweep.stages} for f in fields(stages.STAGES[s])}
        if unused := {*sweep.grid} - taken:  # all its points would be the same run
            raise ValueError(f"grid: no stage of {', '.join(sweep.recipes)} takes '{min(unused)}'")
        params.check_names(sweep.repeats, where="repeats")
        sweep.repeats = [name for name in sweep.repeats if name in sweep.grid]
        paired = itertools.product(sweep.points, sweep.recipes[:1], sweep.recipes[1:])
        pairs = [[sweep.arm(point, r) for r in pair] for point, *pair in paired]
        pairs = pairs or [[sweep.arms[0], arm] for arm in sweep.arms[1:]]
        sweep.compare = sweep.compare or {f"against {first}: {arm}": [first, arm] for first, arm in pairs}
        if (sweep.curves and len(sweep.recipes) < 2) or {*sweep.curves, *sweep.over.values()} - {*sweep.measures}:
            raise ValueError(f"curves, over: expected two recipes and names of measures ({', '.join(sweep.measures)})")
        if other := [name for name in sweep.curves if "bits_per_byte" not in sweep.measures[name]]:
            raise ValueError(f"curves: {other[0]}: expected a measure in bits per byte, since less counts as better")
        for what, pair in sweep.compare.items():
            if len(pair) != 2 or {*pair} - {*sweep.arms}:
                raise ValueError(f"compare: {what}: expected two of {'; '.join(sweep.arms)}, found {pair!r}")
    except ValidationError as error:
        raise ValueError(f"{file}: {params.explain_error(error)}; a sweep has {', '.join(Sweep.model_fields)}") from None
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return sweep
