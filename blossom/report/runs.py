"""Finished runs, read from their folders alone; and any two of them side by side."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from blossom.common import figures, params, paths


@dataclass(frozen=True)
class Stage:
    """A finished run of a stage, as its folder tells it."""

    recipe: str
    name: str
    folder: Path
    params: dict
    metrics: dict
    manifest: dict


def read(folder):
    """The Stage of a finished run's folder; ValueError when it is none, or was edited after its run."""
    folder = Path(folder)
    if not (folder / "manifest.json").exists():
        raise ValueError(f"{folder}: no finished run (it has no manifest.json)")
    manifest = paths.read_json(folder / "manifest.json")
    for name in ("metrics.json", "params.yaml"):
        if paths.sha256(folder / name) != manifest["outputs"][name]:
            raise ValueError(f"{folder / name} was changed after its run (its sha256 is not the manifest's): run it again")
    settings = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    metrics = paths.read_json(folder / "metrics.json")
    return Stage(folder.parent.name, manifest["stage"], folder, settings, metrics, manifest)


def load(p):
    """(recipe, stage) -> Stage, for every stage of the report's recipes, in the order they ran.

    p  params.Report
    Raises RuntimeError when a stage cannot be made, ValueError when there is no recipe or a folder was edited after its run.
    """
    if not p.recipes:
        raise ValueError("recipes: expected at least one recipe for the report, found none")
    wanted = [(recipe, stage) for recipe in p.recipes for stage in params.recipe(recipe).stages]
    runs = {(r, s): read(paths.require_stage(p.outputs, p.scale, r, s)) for r, s in wanted}
    figures.set_language(next((run.params["language"] for run in runs.values() if "language" in run.params), "Korean"))
    return runs


def find(runs, stage, recipe=None):
    """The Stage of a recipe, or of the last recipe that has it; None when no recipe has."""
    found = [run for (r, s), run in runs.items() if s == stage and recipe in (None, r)]
    return found[-1] if found else None


def of_line(runs, stage, recipe):
    """The Stage of a recipe or of the nearest recipe it comes from; None when none of them has the stage."""
    found = (runs.get((r.name, stage)) for r in params.lineage(recipe))
    return next((run for run in found if run), None)


def flat(values, prefix=""):
    """Nested dicts and lists as {"a.b.0": value}; rows of a table are named by their first text, not by their number.

    Example: {"a": {"b": 1}, "t": [{"pair": "x", "n": 2}]} -> {"a.b": 1, "t.x.n": 2}
    """
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, list):
        items = ((_row_name(value, n), value) for n, value in enumerate(values))
    else:
        return {prefix: values}
    found = {}
    for name, value in items:
        found |= flat(value, f"{prefix}.{name}" if prefix else str(name))
    return found


def _row_name(row, number):
    texts = [v for v in row.values() if isinstance(v, str)] if isinstance(row, dict) else []
    return ".".join(texts[:2]) or number


def tree(folder):
    """{stage name or "recipe/stage": Stage} of a folder: of one run, of a recipe, or of all recipes of a scale.

    Raises ValueError when it holds no finished run, or one that was edited.
    """
    folder = Path(folder)
    if (folder / "manifest.json").exists():
        run = read(folder)
        return {run.name: run}
    found = sorted(folder.glob("*/manifest.json")) or sorted(folder.glob("*/*/manifest.json"))
    if not found:
        raise ValueError(f"{folder}: no finished run there, nor one or two folders below (no manifest.json)")
    return {str(file.parent.relative_to(folder)): read(file.parent) for file in found}


def compare(a, b):
    """Any two runs side by side, from their folders alone.

    a, b    folders: of a stage's run, of a recipe or of a scale; of the last two, the stages that both have are compared
    return  (parameters, metrics): DataFrames with the columns stage, name, a, b of what differs; metrics also have
            change (b - a) and relative (change / a), NaN for what is no number. What only one run has is "–".

    Raises ValueError when a folder has no finished run, was edited, or the two have no stage in common.
    """
    first, second = tree(a), tree(b)
    if len(first) == len(second) == 1:
        second = dict(zip(first, second.values(), strict=True))  # two single runs, of whatever stage and name
    common = [name for name in first if name in second]
    if not common:
        raise ValueError(f"{a} and {b} have no stage in common: {', '.join(first)}; {', '.join(second)}")
    told, counted = [], []
    for name in common:
        one, two = first[name], second[name]
        told += _differing(name, one.params, two.params)
        about = [{k: run.manifest[k] for k in ("git_commit", "versions")} for run in (one, two)]
        told += _differing(name, *about)
        counted += _differing(name, one.metrics, two.metrics)
    columns = ["stage", "name", "a", "b"]
    parameters, metrics = (pd.DataFrame(rows, columns=columns) for rows in (told, counted))
    before, after = (pd.to_numeric(metrics[side], errors="coerce") for side in "ab")
    metrics["change"] = after - before
    metrics["relative"] = metrics["change"] / before.abs().where(before != 0)
    return parameters, metrics


def _differing(stage, one, two):
    one, two = flat(one), flat(two)
    names = dict.fromkeys([*one, *two])
    return [(stage, n, one.get(n, "–"), two.get(n, "–")) for n in names if one.get(n, "–") != two.get(n, "–")]
