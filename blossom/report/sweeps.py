"""A sweep's comparison: every arm's mean and interval over its repetitions, and differences repetition by repetition."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from blossom.batch import plan
from blossom.common import figures, paths
from blossom.common.runs import git_commit, read_run
from blossom.report.sections import Section, html_table, page, picture


def comparison_folder(outputs, name, scale):
    """`outputs/sweeps/<name>/comparison-<scale>`"""
    return paths.outputs_root(outputs) / "sweeps" / name / f"comparison-{scale}"


def measure_sweep(p, name, scale):
    """Every measure at every point: DataFrame with point, arm, repeat (the repeated values), measure, value.

    p  plan.Plan
    Raises ValueError naming the run whose metrics.json does not have a measure, or that was edited after it ran.
    """
    sweep, rows = p.sweeps[name], []
    runs = {key: read_run(run.folder) for key, run in p.sweep_runs(name, scale).items()}
    for point, values in sweep.points.items():
        repeat = ", ".join(f"{k}={values[k]}" for k in sweep.repeats)
        for recipe in sweep.recipes:
            for label, where in sweep.measures.items():
                stage, _, inside = where.partition("/")
                value = _value(runs[point, recipe, stage], inside)
                rows.append((point, sweep.arm(point, recipe), repeat, label, value))
    return pd.DataFrame(rows, columns=["point", "arm", "repeat", "measure", "value"])


def _value(run, inside):
    value = run.metrics
    for part in inside.split("."):
        if not isinstance(value, dict) or part not in value:
            raise ValueError(
                f"{run.folder / 'metrics.json'}: no '{inside}' (a measure of the sweep); it has {', '.join(value)}"
            )
        value = value[part]
    return float(value)


def mean_interval(values, level=0.95):
    """(mean, low, high) by Student's t over repetitions; low and high are NaN for a single one.

    Example: [1.0, 2.0, 3.0] -> (2.0, -0.48, 4.48)
    """
    values = np.asarray(values, dtype=float)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf((1 + level) / 2, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return mean, mean - half, mean + half


def summarise_arms(table):
    """Mean and 95 % interval of every measure in every arm: measure, arm, runs, mean, low, high."""
    grouped = [
        g for _, own in table.groupby("measure", sort=False) for g in own.groupby(["measure", "arm"], sort=False).value
    ]
    rows = [(measure, arm, len(values), *mean_interval(values)) for (measure, arm), values in grouped]
    return pd.DataFrame(rows, columns=["measure", "arm", "runs", "mean", "low", "high"])


def compare_arms(table, compare):
    """The second arm less the first, paired by repetition: measure, what, runs, difference, low, high, verdict.

    compare  what -> [arm, arm]
    verdict  "differs" when the interval excludes 0, else "not told apart"; "one run" when there is no interval
    """
    rows = []
    for measure, own in table.groupby("measure", sort=False):
        values = own.pivot(index="repeat", columns="arm", values="value")
        for what, (before, after) in compare.items():
            found = mean_interval(values[after] - values[before])
            verdict = "one run" if np.isnan(found[1]) else "differs" if found[1] > 0 or found[2] < 0 else "not told apart"
            rows.append((measure, f"{what}: {before} → {after}", len(values), *found, verdict))
    return pd.DataFrame(rows, columns=["measure", "what", "runs", "difference", "low", "high", "verdict"])


def plot_arms(table, compared):
    """A panel a measure: the runs as dots, each arm's mean with its interval; what is told apart stands in the title."""
    measures = list(dict.fromkeys(table["measure"]))
    summary, names = summarise_arms(table), list(dict.fromkeys(table["arm"]))
    columns = min(3, len(measures))
    lines = -(-len(measures) // columns)
    size = (3.4 * columns + 1, lines * (0.45 * len(names) + 1.3) + 0.3)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharey=True, squeeze=False)
    for axis, measure in zip(axes.flat, measures, strict=False):
        own = summary[summary.measure == measure].set_index("arm").loc[names]
        error = np.nan_to_num(np.array([own["mean"] - own.low, own.high - own["mean"]]))
        axis.errorbar(own["mean"], range(len(names)), xerr=error, fmt="o", capsize=3, color=figures.COLOURS["ours"])
        dots = table[table.measure == measure]
        axis.plot(dots.value, [names.index(arm) + 0.22 for arm in dots.arm], "o", ms=3, color=figures.COLOURS["base"])
        told = compared[compared.measure == measure]
        axis.set_title(f"{measure}\n{(told.verdict == 'differs').sum()} of {len(told)} differ", fontsize=10)
        axis.set(yticks=range(len(names)), ylim=(len(names) - 0.4, -0.6))
        axis.set_yticklabels(names)
    [axis.remove() for axis in axes.flat[len(measures) :]]
    return figure


def write_comparison(outputs, name, scale, definitions):
    """Make the comparison of a finished sweep: comparison.json, .csv, .png and .html; returns their folder.

    definitions  the folder of the sweeps' files
    Raises ValueError: no such sweep, or a run of it that is not there or lacks a measure.
    """
    p = plan.Plan(outputs, definitions=definitions)
    if name not in p.sweeps:
        raise ValueError(f"{definitions}: no sweep is called '{name}'; there are {', '.join(p.sweeps)}")
    sweep, target = p.sweeps[name], comparison_folder(outputs, name, scale)
    table = measure_sweep(p, name, scale)
    summary, compared = summarise_arms(table), compare_arms(table, sweep.compare)
    target.mkdir(parents=True, exist_ok=True)
    with figures.house_style(), paths.write_atomically(target / "comparison.png") as temporary:
        plot_arms(table, compared).savefig(temporary, format="png", dpi=150, bbox_inches="tight")
    paths.write_text(target / "comparison.csv", table.to_csv(index=False))
    about = {
        "question": sweep.question,
        "repeats": sweep.repeats,
        "points": sweep.points,
        "scale": scale,
        "git_commit": git_commit(),
        "measured": table.to_dict("records"),
    }
    kept = {"arms": summary, "differences": compared}
    about |= {k: v.astype(object).where(v.notna(), None).to_dict("records") for k, v in kept.items()}
    subtitle = f"Sweep {name} at scale {scale}: {len(sweep.points)} points, {len(sweep.arms)} arms."
    paths.write_text(target / "comparison.html", page(sweep.question, subtitle, [_section(about, target)]))
    paths.write_json(target / "comparison.json", about)
    return target


def sweep_section(outputs, name, scale):
    """The part of a report that shows a finished sweep; FileNotFoundError when it has no comparison yet."""
    target = comparison_folder(outputs, name, scale)
    return _section(paths.read_json(target / "comparison.json"), target)


def _section(about, target):
    prose = [f"Means over {', '.join(about['repeats']) or 'one run'}; 95 % intervals (Student's t); differences are paired."]
    tables = [html_table(_shown(pd.DataFrame(about[name]))) for name in ("differences", "arms")]
    shown = [picture(Path(target) / "comparison.png", "grey: single runs; green: means with 95 % intervals")]
    return Section(about["question"], prose=prose, tables=tables, figures=shown)


def _shown(table):
    numbers = [c for c in ("mean", "difference", "low", "high") if c in table]
    return table.assign(**{c: ["–" if pd.isna(v) else f"{v:.4g}" for v in table[c]] for c in numbers})
