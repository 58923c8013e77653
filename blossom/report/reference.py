"""The reference run: metrics and figures of one complete run, kept in the repository, and a new run compared with them."""

import datetime
import fnmatch
import os
import platform
import re
import shutil
from pathlib import Path

import pandas as pd
import yaml
from PIL import Image

from blossom.common import params, paths
from blossom.common.runs import read_run
from blossom.report.changes import flatten_metrics

TOLERANCES = paths.ROOT / "params" / "reference.yaml"
LIMIT = 3_000_000  # bytes of the whole folder, since it is in git
WIDTH = 700  # pixels of a kept figure


def reference_folder(scale):
    """`outputs/reference/<scale>` of the repository."""
    return paths.ROOT / "outputs" / "reference" / scale


def keep_reference(outputs, scale, recipes, report="ablation", target=None):
    """Copy params.yaml, metrics.json and the figures (made smaller) of every stage and of the report; returns the folder.

    target  the folder, `reference_folder(scale)` by default; its about.json holds commit, machine, date, versions, and each
            stage's seconds and memory

    Raises ValueError: a stage has not run, or was edited after its run; the copies are larger than LIMIT.
    """
    target = Path(target or reference_folder(scale))
    wanted = [(recipe, stage) for recipe in recipes for stage in params.read_recipe(recipe).stages] + [(report, "07_report")]
    runs = {f"{r}/{s}": read_run(paths.stage_folder(outputs, scale, r, s)) for r, s in wanted}
    with paths.write_atomically(target) as temporary:
        for name, run in runs.items():
            (temporary / name).mkdir(parents=True)
            for file in ("params.yaml", "metrics.json"):
                shutil.copyfile(run.folder / file, temporary / name / file)
            if run.manifest["recipe"] == run.recipe:  # else the figures are kept with the run that it is linked to
                for figure in sorted((run.folder / "figures").glob("*.png")):
                    shrink_figure(figure, temporary / name / "figures" / figure.name)
        about = {
            "scale": scale,
            "commits": sorted({run.manifest["git_commit"] for run in runs.values()}),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": describe_machine(),
            "versions": next(iter(runs.values())).manifest["versions"],
            "runs": {n: {k: r.manifest[k] for k in ("wall_seconds", "peak_bytes")} for n, r in runs.items()},
        }
        paths.write_json(temporary / "about.json", about)
        size = sum(f.stat().st_size for f in temporary.rglob("*") if f.is_file())
        if size > LIMIT:
            raise ValueError(f"the reference would take {size:,} bytes; expected at most {LIMIT:,}, since it is in git")
    return target


def shrink_figure(source, target):
    """Write a PNG at most WIDTH pixels wide, in 48 colours."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        image = image.convert("RGB")
        if image.width > WIDTH:
            image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
        image.quantize(48, dither=Image.Dither.NONE).save(target, optimize=True)


def describe_machine():
    """The processor, its cores, the memory and the system as text, without the machine's name."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        processor = re.search(r"model name\s*:\s*(.*)", told).group(1)
    except (OSError, AttributeError):
        processor = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{processor}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}"


def read_tolerances(file=TOLERANCES):
    """The rules of params/reference.yaml: list of dicts; of two rules that match a metric, the first one counts.

    Raises ValueError for a rule with other keys than metric, why and relative, absolute or skip.
    """
    rules = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    for rule in rules:
        if set(rule) - {"metric", "relative", "absolute", "skip", "why"} or not {"metric", "why"} <= set(rule):
            raise ValueError(f"{file}: expected metric, why and one of relative, absolute, skip; found {rule}")
    return rules


def check_reference(outputs, scale, rules, reference=None):
    """Compare a new run with the reference: DataFrame with run, metric, reference, found, allowed, within, why.

    reference  folder, `reference_folder(scale)` by default
    `within` is False where the metric is out of tolerance. Recipes that the new run does not have are left out.

    Raises ValueError: no reference, none of its recipes in the new run, or a run that was edited.
    """
    reference = Path(reference or reference_folder(scale))
    kept = sorted(reference.glob("*/*/metrics.json"))
    if not kept:
        raise ValueError(f"{reference}: no reference run there; `make reference` keeps one")
    rows = []
    for file in kept:
        recipe, stage = file.parts[-3:-1]
        own = paths.stage_folder(outputs, scale, recipe, stage)
        if stage != "07_report" and (own / "manifest.json").exists():
            before, after = flatten_metrics(paths.read_json(file)), flatten_metrics(read_run(own).metrics)
            rows += [_compare_metric(f"{recipe}/{stage}", name, before[name], after.get(name), rules) for name in before]
    rows = [row for row in rows if row]
    if not rows:
        folder = paths.outputs_root(outputs) / scale
        raise ValueError(f"{folder}: none of the reference's runs is there; run `make ablation`")
    return pd.DataFrame(rows, columns=["run", "metric", "reference", "found", "allowed", "within", "why"])


def _compare_metric(run, name, before, after, rules):
    """One row of `check_reference`; None for a value that is no number or has no rule."""
    rule = next((r for r in rules if fnmatch.fnmatchcase(f"{run}/{name}", r["metric"])), {"skip": True})
    if isinstance(before, bool) or not isinstance(before, int | float) or rule.get("skip"):
        return None
    allowed = max(rule.get("absolute", 0.0), abs(before) * rule.get("relative", 0.0))
    within = isinstance(after, int | float) and abs(after - before) <= allowed + 1e-12
    return (run, name, before, after, allowed, within, rule["why"])
