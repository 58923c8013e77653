"""The reference run, kept in the repository with its metrics and figures, and compared with a new run."""

import datetime
import fnmatch
import os
import platform
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import yaml
from PIL import Image

from blossom.common import params, paths, runs

REFERENCE = paths.ROOT / "outputs" / "reference"  # a folder for each scale, in git
EARLIER = "an earlier run (outputs/reference)"  # its name where numbers are shown
TOLERANCES = paths.ROOT / "params" / "reference.yaml"
LIMIT = 3_000_000  # bytes of a scale's folder, since it is in git


def keep_reference(outputs, scale, recipes, report="ablation"):
    """Copy parameters, metrics and small figures of a finished run to outputs/reference/<scale>; returns this folder.

    Finished sweeps at this scale are kept in outputs/reference/sweeps.
    Raises ValueError when a stage has not run or was edited, or the copies are larger than LIMIT.
    """
    wanted = [*params.report_runs(recipes), (report, "07_report")]
    found = {f"{r}/{s}": runs.read_run(paths.stage_folder(outputs, scale, r, s)) for r, s in wanted}
    with paths.write_atomically(REFERENCE / scale) as temporary:
        for name, run in found.items():
            (temporary / name / "figures").mkdir(parents=True)
            for file in ("params.yaml", "metrics.json"):
                shutil.copyfile(run.folder / file, temporary / name / file)
            if run.manifest["recipe"] == run.recipe:  # else the figures are kept with the run that it is linked to
                for figure in (run.folder / "figures").glob("*.png"):
                    _shrink_figure(figure, temporary / name / "figures" / figure.name)
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        commits = sorted({run.manifest["git_commit"] or "unknown" for run in found.values()})
        about = {"scale": scale, "commits": commits, "date": today, "machine": describe_machine()}
        about["versions"] = next(iter(found.values())).manifest["versions"]
        about["runs"] = {n: {k: r.manifest[k] for k in ("wall_seconds", "peak_bytes")} for n, r in found.items()}
        paths.write_json(temporary / "about.json", about)
        for file in sorted(paths.outputs_root(outputs).glob(f"sweeps/*/comparison-{scale}/comparison.json")):
            kept = REFERENCE / file.relative_to(paths.outputs_root(outputs))
            paths.write_json(kept, paths.read_json(file))
            _shrink_figure(file.with_suffix(".png"), kept.with_suffix(".png"))
        size = sum(f.stat().st_size for f in temporary.rglob("*") if f.is_file())
        if size > LIMIT:
            raise ValueError(f"the reference would take {size:,} bytes; expected at most {LIMIT:,}, since it is in git")
    return REFERENCE / scale


def _shrink_figure(source, target):
    with Image.open(source) as image:
        image = image.convert("RGB")
        image.thumbnail((700, image.height), Image.Resampling.LANCZOS)
        image.quantize(48, dither=Image.Dither.NONE).save(target, optimize=True)


def describe_machine():
    file = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.*)", file.read_text(encoding="utf-8")) if file.exists() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    processor = named[1] if named else platform.processor()
    return f"{processor}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}"


def read_reference(stage, scale="laptop"):
    """The reference's runs of a stage, as far as reports need them: {(recipe, stage): object with `metrics`}."""
    files = sorted((REFERENCE / scale).glob(f"*/{stage}/metrics.json"))
    return {(file.parts[-3], stage): SimpleNamespace(metrics=paths.read_json(file, dict)) for file in files}


def check_reference(outputs, scale):
    """Compare a new run's metrics with the reference: (table, names of the reference's runs that the new run lacks).

    table  DataFrame of run, metric, reference, found, allowed, within (False where the metric is out of tolerance), why;
           the first rule of params/reference.yaml that fits a metric is used, metrics without a rule are left out
    """
    kept = sorted((REFERENCE / scale).glob("*/*/metrics.json"))
    if not kept:
        raise ValueError(f"{REFERENCE / scale}: no reference run there; `make reference` keeps one")
    rules, rows, missing = yaml.safe_load(TOLERANCES.read_text(encoding="utf-8")), [], []
    for recipe, stage, file in [(*file.parts[-3:-1], file) for file in kept if file.parts[-2] != "07_report"]:
        own = paths.stage_folder(outputs, scale, recipe, stage)
        if (own / "manifest.json").exists():
            before, after = _flatten_metrics(paths.read_json(file)), _flatten_metrics(runs.read_run(own).metrics)
            rows += [_compare_metric(f"{recipe}/{stage}", name, before[name], after.get(name), rules) for name in before]
        else:
            missing.append(f"{recipe}/{stage}")
    rows = [row for row in rows if row]
    if not rows:
        folder = paths.outputs_root(outputs) / scale
        raise ValueError(f"{folder}: none of the reference's runs is there; run `make ablation`")
    return pd.DataFrame(rows, columns=["run", "metric", "reference", "found", "allowed", "within", "why"]), missing


def _compare_metric(run, name, before, after, rules):
    rule = next((r for r in rules if fnmatch.fnmatchcase(f"{run}/{name}", r["metric"])), {"skip": True})
    if isinstance(before, bool) or not isinstance(before, int | float) or rule.get("skip"):
        return None
    allowed = max(rule.get("absolute", 0.0), abs(before) * rule.get("relative", 0.0))
    within = isinstance(after, int | float) and abs(after - before) <= allowed + 1e-12
    return (run, name, before, after, allowed, within, rule["why"])


def _flatten_metrics(values, prefix=""):
    """Nested dicts and lists as one dict with dotted names."""
    if isinstance(values, list):
        values = {_row_name(value, n): value for n, value in enumerate(values)}
    if not isinstance(values, dict):
        return {prefix: values}
    found = {}
    for name, value in values.items():
        found |= _flatten_metrics(value, f"{prefix}.{name}" if prefix else str(name))
    return found


def _row_name(row, number):
    """An item of a list is named by its first two texts, so that the name does not change when the order does."""
    texts = [v for v in row.values() if isinstance(v, str)] if isinstance(row, dict) else []
    return ".".join(texts[:2]) or number
