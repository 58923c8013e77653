"""A sweep's comparison: each arm's mean and interval over its repetitions, and paired differences of arms."""

import base64
from functools import reduce
from typing import NotRequired

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from typing_extensions import TypedDict

from blossom.batch import plan
from blossom.common import figures, paths, runs
from blossom.report import convert, crossover, reference

COMPARISON = {"scale": str, "recipes": list[str], "curves": list[str], "over": dict[str, str]}
MEASURED = TypedDict("Measured", dict.fromkeys(("point", "recipe", "arm", "repeat", "measure"), str) | {"value": float})
COMPARISON |= {"measured": list[MEASURED], "runs": NotRequired[dict[str, str]], "texts": NotRequired[str]}


def comparison_folder(outputs, name, scale):
    return paths.outputs_root(outputs) / "sweeps" / name / f"comparison-{scale}"


def measure_sweep(p, name, scale):
    """Read a sweep's measures from its runs; `p` is a plan.Plan. Columns: point, recipe, arm, repeat, measure, value."""
    sweep, rows = p.sweeps[name], []
    found = {key: runs.read_run(run.folder) for key, run in p.sweep_runs(name, scale).items()}
    for point, values in sweep.points.items():
        repeat = ", ".join(f"{k}={values[k]}" for k in sweep.repeats)
        for recipe in sweep.recipes:
            for label, where in sweep.measures.items():
                stage, _, inside = where.partition("/")
                value = _find_measure(found[point, recipe, stage], inside)
                rows.append((point, recipe, sweep.arm(point, recipe), repeat, label, value))
    return pd.DataFrame(rows, columns=["point", "recipe", "arm", "repeat", "measure", "value"])


def _find_measure(run, inside):
    try:
        return float(reduce(lambda value, name: value[name], inside.split("."), run.metrics))
    except (KeyError, TypeError):
        raise ValueError(f"{run.folder / 'metrics.json'}: no number '{inside}' (a measure of the sweep)") from None


def mean_interval(values):
    """(mean, low, high) with Student's 95 % interval; low and high are NaN where the values do not vary."""
    values = np.asarray(values, dtype=float)
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if np.ptp(values) > 0 else np.nan
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def summarise_arms(table):
    """Summarise what `measure_sweep` returned: DataFrame of measure, arm, runs, mean, low, high."""
    parts = ((m, *part) for m in table.measure.unique() for part in table[table.measure == m].groupby("arm", sort=False))
    rows = [(measure, arm, len(own), *mean_interval(own.value)) for measure, arm, own in parts]
    return pd.DataFrame(rows, columns=["measure", "arm", "runs", "mean", "low", "high"])


def compare_arms(table, compare):
    """The second arm minus the first, paired by repetition. Columns: measure, what, runs, difference, low, high, verdict.

    compare  {label: [arm, arm]}
    verdict  "differs" if the interval excludes 0, else "not told apart"; "one run", "equal runs": repetitions do not vary
    """
    rows = []
    for measure, own in table.groupby("measure", sort=False):
        values = own.pivot(index="repeat", columns="arm", values="value")
        for what, (before, after) in compare.items():
            found = mean_interval(values[after] - values[before])
            told = "differs" if found[1] > 0 or found[2] < 0 else "not told apart"
            verdict = told if found[1] <= found[2] else "one run" if len(values) == 1 else "equal runs"
            rows.append((measure, f"{what}: {before} → {after}", len(values), *found, verdict))
    return pd.DataFrame(rows, columns=["measure", "what", "runs", "difference", "low", "high", "verdict"])


def measure_spread(about, scale):
    """Standard deviations between seeds, {measure of stage 05: (of a run, of the first two recipes' difference)}.

    Empty for a sweep of another scale.
    """
    table = pd.DataFrame(about["measured"])
    table["amount"] = [arm.removeprefix(recipe) for arm, recipe in zip(table.arm, table.recipe, strict=True)]
    paired = table.pivot(index=["measure", "amount", "repeat"], columns="recipe", values="value")[about["recipes"][:2]]
    variances = table.groupby(["measure", "arm"])["value"].var()
    variances = variances, paired.diff(axis=1).iloc[:, -1].groupby(["measure", "amount"]).var()
    one, both = (found.groupby("measure").mean() ** 0.5 for found in variances)
    names = about["curves"] if about["scale"] == scale else ()
    return {name.replace("corpus ", "").replace(" ", "_").lower(): (one[name], both[name]) for name in names}


def plot_arms(table):
    """Plot each measure in a panel: grey dots for single runs, and each arm's mean with its 95 % interval."""
    panels = table.measure.nunique()
    figure, axes = plt.subplots(panels, 1, figsize=(8, panels * (0.4 * table.arm.nunique() + 0.9)), squeeze=False)
    for axis, (measure, own) in zip(axes.flat, summarise_arms(table).groupby("measure", sort=False), strict=True):
        half = (own["high"] - own["mean"]).fillna(0)
        axis.errorbar(own["mean"], own.arm, xerr=half, fmt="o", capsize=3, color=figures.COLOURS["ours"])
        axis.plot("value", "arm", "o", data=table[table.measure == measure], ms=3, color=figures.COLOURS["base"])
        axis.set_title(measure, fontsize=10)
        axis.margins(y=0.2)
        axis.invert_yaxis()
    return figure


def write_comparison(outputs, name, scale, definitions):
    """Write comparison.json, .png and .html of a finished sweep of the folder `definitions`; returns their folder."""
    p = plan.Plan(outputs, definitions=definitions)
    if name not in p.sweeps:
        raise ValueError(f"{definitions}: no sweep is called '{name}'; there are {', '.join(p.sweeps)}")
    sweep, table, target = p.sweeps[name], measure_sweep(p, name, scale), comparison_folder(outputs, name, scale)
    about = sweep.model_dump(include={"question", "texts", "recipes", "repeats", "curves", "over"})
    about |= {"points": sweep.points, "scale": scale, "git_commit": runs.git_commit(), "measured": table.to_dict("records")}
    root, folders = paths.outputs_root(outputs), [run.folder for run in p.sweep_runs(name, scale).values()]
    about["runs"] = _hash_manifests(root, [folder.relative_to(root) for folder in folders])
    figure, found = draw_sweep(about)
    found |= {"differences": compare_arms(table, sweep.compare), "arms": summarise_arms(table)}
    with paths.write_atomically(target / "comparison.png") as temporary:
        figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
    about |= {k: v.astype(object).where(v.notna(), None).to_dict("records") for k, v in found.items()}
    words = {"name": name, "scale": scale, "repeats": sweep.repeats, "texts": sweep.texts}
    words["image"] = base64.b64encode((target / "comparison.png").read_bytes()).decode()
    words["tables"] = [t.to_html(index=False, na_rep="–", float_format="{:.4g}".format) for t in found.values()]
    paths.write_text(target / "comparison.html", convert.render_page("comparison.html", sweep.question, **words))
    paths.write_json(target / "comparison.json", about)
    return target


def draw_sweep(about):
    """(figure, {title: table}) of a sweep's comparison.json: curves and where they cross, or its arms without tables."""
    compared = crossover.compare_curves(about)
    with figures.house_style():
        figure = crossover.plot_curves(compared) if compared else plot_arms(pd.DataFrame(about["measured"]))
        figure.text(0.01, 0, "bits/byte of {texts}".format(**about) if about.get("texts") else "", va="top", fontsize=9)
    tables = {"crossings": crossover.tabulate_crossings, "needs": crossover.tabulate_needs} if compared else {}
    return figure, {name: tabulate(compared) for name, tabulate in tables.items()}


def _hash_manifests(root, names):
    files = {str(name): root / name / "manifest.json" for name in names}
    return {name: paths.hash_path(file) for name, file in files.items() if file.exists()}


def read_comparison(outputs, name, scale):
    """(source, comparison.json) of a sweep: of this run or earlier ones, or of the reference run at any scale; or None."""
    own = comparison_folder(outputs, name, scale)
    for folder in (own, *sorted((reference.REFERENCE / "sweeps" / name).glob("comparison-*"))):
        if (folder / "comparison.json").exists():
            about = paths.read_json(folder / "comparison.json", COMPARISON)
            if folder != own:
                return f"{reference.EARLIER}, scale {about['scale']}", about
            compared = about.get("runs")  # an older comparison does not say which
            if compared and _hash_manifests(paths.outputs_root(outputs), compared) == compared:
                return "this run", about
            return f"earlier runs, which have changed since or are gone (`make sweep SWEEP={name}`)", about
    return None
