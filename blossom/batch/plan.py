"""The runs that Snakemake plans: what each one reads, which are the same, and the points of a sweep.

A run is named by its root (the outputs folder, or a point of a sweep), scale, recipe and stage. Two runs with the same
parameters that read the same runs are made once: the second folder then holds links to the first.
"""

import hashlib
import itertools
import json
import os
import re
import shutil
import sys
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from blossom.common import params, paths, shell
from blossom.common.stages import MODEL_STAGES, STAGES

SWEEP_KEYS = {"question", "recipes", "stages", "grid", "repeats", "set", "compare", "measures"}
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


@dataclass
class Plan:
    """All runs below the folder `outputs`, with `overrides` (name: value) above every scale and recipe.

    definitions  the folder of the sweeps' files
    """

    outputs: str
    overrides: dict = field(default_factory=dict)
    definitions: str = str(paths.ROOT / "params" / "sweeps")
    _read: dict = field(default_factory=dict)
    _keys: dict = field(default_factory=dict)

    @cached_property
    def sweeps(self):
        """Name -> Sweep of every file in the folder of definitions."""
        return {file.stem: read_sweep(file) for file in sorted(Path(self.definitions).glob("*.yaml"))}

    def settings(self, root):
        """The overrides of the runs below a root: the plan's own, then those of the sweep's point."""
        if root == self.outputs:
            return self.overrides
        sweep, point = self._split_root(root)
        return self.overrides | self.sweeps[sweep].points[point]

    def _split_root(self, root):
        return root.removeprefix(f"{self.outputs}/sweeps/").split("/")

    def effective(self, run):
        """The parameters of a run (its stage's dataclass)."""
        if run not in self._read:
            own = self.settings(run.root)
            self._read[run] = params.effective_params(run.stage, run.scale, run.recipe, outputs=run.root, **own)
        return self._read[run]

    def needs(self, run):
        """The runs that a run reads: list of RunName."""
        p = self.effective(run)
        if run.stage == "07_report":
            return [run._replace(recipe=r, stage=s) for r in p.recipes for s in params.read_recipe(r).stages]
        found = [params.starting_stage(run.recipe, run.stage)]
        if run.stage == "03_bilingual_pretraining" and p.same_text_as:
            found.append(params.starting_stage(p.same_text_as, run.stage))
        elif run.stage == "05_benchmark_eval":  # needs the scores of the others, so that no model is scored twice
            line = [r.name for r in params.recipe_lineage(run.recipe)]
            named = [n for b in p.beside for n in (line if b == "parents" else [b])]
            found += [self._scored(n, run.stage) for n in named if n != run.recipe and params.recipe_file(n).exists()]
        elif run.stage == "06_qualitative_eval":
            named = [n for n in (p.compare_with, *p.more_models) if params.recipe_file(n).exists()]
            found += [params.starting_stage(n, run.stage) for n in named]
        return [run._replace(recipe=r, stage=s) for r, s in dict.fromkeys(f for f in found if f)]

    @staticmethod
    def _scored(recipe, stage):
        own = params.read_recipe(recipe).stages
        return (recipe, stage) if stage in own else params.starting_stage(recipe, stage)

    def key(self, run):
        """A digest of everything that a run's result depends on: two runs with the same key have the same result."""
        if run not in self._keys:
            own = asdict(self.effective(run))
            own = {name: value for name, value in own.items() if name not in ("outputs", "recipe")}
            if run.stage not in MODEL_STAGES:  # their results name the recipe
                own["recipe"] = run.recipe
            told = json.dumps([run.stage, own, [self.key(n) for n in self.needs(run)]], sort_keys=True, ensure_ascii=False)
            self._keys[run] = hashlib.sha256(told.encode()).hexdigest()
        return self._keys[run]

    def twin(self, run):
        """Another run with the same result, to link instead of making this one; None when this one must be made.

        A finished run is preferred to the first in the plan's order.
        """
        if run.stage == "07_report" or is_own(run.folder):
            return None
        same = [other for other in self._candidates(run) if self.key(other) == self.key(run)]
        chosen = next((other for other in same if is_own(other.folder)), same[0])
        return None if chosen == run else chosen

    def _candidates(self, run):
        """Runs of the same stage, this one among them: those of the outputs folder, then those of its sweep."""
        names = sorted(f.stem for f in params.recipe_file(run.recipe).parent.glob("*.yaml"))
        recipes = names if run.stage in MODEL_STAGES else [run.recipe]
        recipes = [r for r in recipes if run.stage in params.read_recipe(r).stages]
        roots = [self.outputs]
        if run.root != self.outputs:
            sweep = self._split_root(run.root)[0]
            roots += [f"{self.outputs}/sweeps/{sweep}/{point}" for point in self.sweeps[sweep].points]
        return [run._replace(root=root, recipe=r) for root in roots for r in recipes]

    def memory(self, run):
        """MB to keep free for a run: 1.1 times the most that a finished run of its stage and scale has taken."""
        finished = paths.outputs_root(self.outputs).glob(f"{run.scale}/*/{run.stage}/manifest.json")
        peaks = [paths.read_json(manifest)["peak_bytes"] for manifest in finished]
        return int(1.1 * max(peaks) / 1e6) if peaks else MEMORY_MB

    def sweep_runs(self, name, scale):
        """What a sweep compares: (point, recipe, stage) -> RunName."""
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


def check_recipes(names=()):
    """Read every recipe and the asked `names`; ValueError for what would fail in the middle of a long run.

    That is: a missing recipe or parent, parents in a loop, two recipes that would write one folder.
    """
    files = sorted(params.recipe_file("any").parent.glob("*.yaml"))
    for name in [*names, *(file.stem for file in files)]:
        params.recipe_lineage(name)


# -------------------------------------------------------------------------------------------------------------- sweeps


@dataclass(frozen=True)
class Sweep:
    """One file of params/sweeps.

    points    folder name -> {parameter: value}, every combination of the grid
    recipes, stages  what runs at each point
    repeats   parameters whose values are repetitions: means and intervals are over them
    compare   label -> [arm, arm]: the second minus the first;  measures  label -> "stage/metric.path"
    """

    name: str
    question: str
    points: dict
    recipes: list
    stages: list
    repeats: list
    compare: dict
    measures: dict

    def arm(self, point, recipe):
        """The name of a recipe at a point, without the parameters that are repetitions."""
        values = [f"{k}={v}" for k, v in self.points[point].items() if k in self.factors]
        return ", ".join([recipe, *values])

    @property
    def factors(self):
        """Parameters that differ between points and are not repetitions."""
        names = list(next(iter(self.points.values())))
        return [n for n in names if n not in self.repeats and len({str(v[n]) for v in self.points.values()}) > 1]

    @property
    def arms(self):
        """Names of all arms, in order."""
        return list(dict.fromkeys(self.arm(point, recipe) for recipe in self.recipes for point in self.points))


def read_sweep(file):
    """The Sweep of a YAML file; ValueError names the file and what is wrong with it."""
    file, values = Path(file), params.load_yaml(file)
    try:
        return _checked(file.stem, values)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _checked(name, values):
    if set(values) - SWEEP_KEYS or not {"recipes", "stages", "grid"} <= set(values):
        known = ", ".join(sorted(SWEEP_KEYS))
        raise ValueError(f"expected recipes, stages, grid and any of {known}; found {', '.join(values)}")
    grid, fixed = values["grid"], values.get("set", {})
    if not isinstance(grid, dict) or not all(isinstance(v, list) and v for v in grid.values()):
        raise ValueError(f"grid: expected 'parameter: [values]', found {grid!r}")
    _check_parameters(values["recipes"], values["stages"], [*grid, *fixed])
    points = {}
    for chosen in itertools.product(*grid.values()):
        point = dict(zip(grid, chosen, strict=True))
        folder = ",".join(f"{k}={_slug(v)}" for k, v in point.items()) or "only"
        if folder in points:
            raise ValueError(f"grid: two points would write one folder, {folder}")
        points[folder] = point | fixed
    repeats = values.get("repeats", ["seed"] if "seed" in grid else [])
    sweep = Sweep(
        *(name, values.get("question", name), points, values["recipes"], values["stages"], repeats),
        *(values.get("compare", {}), values.get("measures", {})),
    )
    compared = sweep.compare or {f"against {sweep.arms[0]}: {arm}": [sweep.arms[0], arm] for arm in sweep.arms[1:]}
    for what, pair in compared.items():
        if not isinstance(pair, list) or len(pair) != 2 or set(pair) - set(sweep.arms):
            raise ValueError(f"compare: {what}: expected two of {'; '.join(sweep.arms)}, found {pair!r}")
    return replace(sweep, compare=compared)


def _check_parameters(recipes, stages, names):
    """Raise ValueError for a parameter that no stage takes: its points would be the same run under several names."""
    params.check_names(names, where="grid")
    made = {s for r in recipes for line in params.recipe_lineage(r) for s in line.stages} & {*MODEL_STAGES, *stages}
    for name in names:
        if not any(name in STAGES[s].__dataclass_fields__ for s in made):
            raise ValueError(f"grid: no stage of {', '.join(recipes)} takes '{name}'")


def _slug(value):
    return re.sub(r"[^\w.+-]+", "-", str(value)).strip("-")


if __name__ == "__main__":
    shell.run(lambda: link_run(*sys.argv[1:]))
