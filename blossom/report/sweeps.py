"""A sweep's comparison: the mean and interval of every arm over its repetitions, and paired differences of arms."""

from html import escape

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from blossom.batch import plan
from blossom.common import figures, paths
from blossom.common.runs import git_commit, read_run
from blossom.report.convert import embed_image, wrap_page


def comparison_folder(outputs, name, scale):
    """`outputs/sweeps/<name>/comparison-<scale>`."""
    return paths.outputs_root(outputs) / "sweeps" / name / f"comparison-{scale}"


def measure_sweep(p, name, scale):
    """Every measure at every point: DataFrame with point, arm, repeat (the repeated values), measure, value.

    p  plan.Plan
    Raises ValueError: a run is missing, was edited, or has no such measure in its metrics.json.
    """
    sweep, rows = p.sweeps[name], []
    runs = {key: read_run(run.folder) for key, run in p.sweep_runs(name, scale).items()}
    for point, values in sweep.points.items():
        repeat = ", ".join(f"{k}={values[k]}" for k in sweep.repeats)
        for recipe in sweep.recipes:
            for label, where in sweep.measures.items():
                stage, _, inside = where.partition("/")
                value = _find_measure(runs[point, recipe, stage], inside)
                rows.append((point, sweep.arm(point, recipe), repeat, label, value))
    return pd.DataFrame(rows, columns=["point", "arm", "repeat", "measure", "value"])


def _find_measure(run, inside):
    value = run.metrics
    for part in inside.split("."):
        if not isinstance(value, dict) or part not in value:
            file = run.folder / "metrics.json"
            raise ValueError(f"{file}: no '{inside}' (a measure of the sweep); it has {', '.join(value)}")
        value = value[part]
    return float(value)


def mean_interval(values, level=0.95):
    """(mean, low, high) by Student's t; low and high are NaN for a single value.

    Example: [1.0, 2.0, 3.0] -> (2.0, -0.48, 4.48)
    """
    values = np.asarray(values, dtype=float)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf((1 + level) / 2, count - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def summarise_arms(table):
    """Mean and 95 % interval of every measure in every arm: measure, arm, runs, mean, low, high."""
    groups = table.groupby(["measure", "arm"], sort=False).value
    rows = [(*key, len(values), *mean_interval(values)) for key, values in groups]
    summary = pd.DataFrame(rows, columns=["measure", "arm", "runs", "mean", "low", "high"])
    order = {measure: n for n, measure in enumerate(table["measure"])}
    return summary.sort_values("measure", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def compare_arms(table, compare):
    """The second arm minus the first, paired by repetition: measure, what, runs, difference, low, high, verdict.

    compare  {what: [arm, arm]}
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
    """A panel for each measure: single runs as dots, each arm's mean with its 95 % interval."""
    measures, names = (list(dict.fromkeys(table[column])) for column in ("measure", "arm"))
    summary, columns = summarise_arms(table), min(3, len(measures))
    lines = -(-len(measures) // columns)
    size = (3.4 * columns + 1, lines * (0.45 * len(names) + 1.3) + 0.3)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharey=True, squeeze=False)
    for axis, measure in zip(axes.flat, measures, strict=False):
        own = summary[summary.measure == measure].set_index("arm").loc[names]
        error = np.nan_to_num(np.array([own["mean"] - own.low, own.high - own["mean"]]))
        axis.errorbar(own["mean"], range(len(names)), xerr=error, fmt="o", capsize=3, color=figures.COLOURS["ours"])
        dots = table[table.measure == measure]
        axis.plot(dots.value, [names.index(arm) + 0.22 for arm in dots.arm], "o", ms=3, color=figures.COLOURS["base"])
        verdicts = compared[compared.measure == measure].verdict
        axis.set_title(f"{measure}\n{(verdicts == 'differs').sum()} of {len(verdicts)} differ", fontsize=10)
        axis.set(yticks=range(len(names)), ylim=(len(names) - 0.4, -0.6))
        axis.set_yticklabels(names)
    for axis in axes.flat[len(measures) :]:
        axis.remove()
    return figure


def write_comparison(outputs, name, scale, definitions):
    """Write comparison.json, .csv, .png and .html of a finished sweep; returns their folder.

    definitions  the folder of the sweeps' files
    Raises ValueError: no such sweep, or as `measure_sweep`.
    """
    p = plan.Plan(outputs, definitions=definitions)
    if name not in p.sweeps:
        raise ValueError(f"{definitions}: no sweep is called '{name}'; there are {', '.join(p.sweeps)}")
    sweep, target = p.sweeps[name], comparison_folder(outputs, name, scale)
    table = measure_sweep(p, name, scale)
    found = {"arms": summarise_arms(table), "differences": compare_arms(table, sweep.compare)}
    with figures.house_style(), paths.write_atomically(target / "comparison.png") as temporary:
        plot_arms(table, found["differences"]).savefig(temporary, format="png", dpi=150, bbox_inches="tight")
    paths.write_text(target / "comparison.csv", table.to_csv(index=False))
    about = {"question": sweep.question, "repeats": sweep.repeats, "points": sweep.points, "scale": scale}
    about |= {"git_commit": git_commit(), "measured": table.to_dict("records")}
    about |= {k: v.astype(object).where(v.notna(), None).to_dict("records") for k, v in found.items()}
    shown = [v.to_html(index=False, na_rep="–", float_format="{:.4g}".format, max_cols=None) for v in found.values()]
    note = f"Sweep {name} at scale {scale}, means over {', '.join(sweep.repeats) or 'one run'} with 95 % intervals "
    note += "(Student's t); differences are paired. Grey: single runs."
    body = f"<h1>{escape(sweep.question)}</h1><p>{escape(note)}</p>{embed_image(target / 'comparison.png')}"
    paths.write_text(target / "comparison.html", wrap_page(sweep.question, body + "".join(reversed(shown))))
    paths.write_json(target / "comparison.json", about)
    return target


def read_comparison(outputs, name, scale):
    """(question, table of differences, path of the figure) of a finished sweep; FileNotFoundError when it has none yet."""
    folder = comparison_folder(outputs, name, scale)
    about = paths.read_json(folder / "comparison.json")
    return about["question"], pd.DataFrame(about["differences"]), folder / "comparison.png"
