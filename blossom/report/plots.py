"""The report's figures. Each takes the finished runs, dict (recipe, stage) -> FinishedRun, and returns a figure."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from blossom.benchmark.papers import paper_model, paper_table6
from blossom.common import figures
from blossom.report import tables
from blossom.report.tables import TEXTS

GREY, OURS, PAPER, INK = (figures.COLOURS[k] for k in ("base", "ours", "paper", "ink"))
VERDICT_COLOURS = {"supported": OURS, "not supported": figures.COLOURS["trained"], "undecided": GREY}
TITLE = {"fontsize": 12, "fontweight": "bold", "ha": "left", "x": 0.01}
ABOVE = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "fontsize": 9}


def _plot_rows(labels, columns=1):
    """(figure, axes) with a labelled row for each of `labels`, the first on top."""
    figure, axes = plt.subplots(1, columns, figsize=(9, 0.36 * len(labels) + 1.5), sharey=True, squeeze=False)
    axes[0, 0].set_yticks(range(len(labels)), labels, fontsize=10)
    axes[0, 0].set_ylim(len(labels) - 0.4, -0.6)
    return figure, axes[0]


def plot_bits(runs):
    """Bits/byte of the four held-out texts: one panel a text, one row a recipe; the dotted line is the base model."""
    table = tables.tabulate_bits(runs)
    figure, axes = _plot_rows(table.index, len(TEXTS))
    for axis, name in zip(axes, TEXTS, strict=True):
        values = table[figures.LABELS[name]]
        axis.plot(values, range(len(values)), "o", color=figures.COLOURS[name])
        for row, value in enumerate(values):
            axis.annotate(f"{value:.2f}", (value, row), **ABOVE)
        if "base" in values:
            axis.axvline(values["base"], color=GREY, ls=":", lw=1.2)
        axis.margins(x=0.25)
        axis.set_xlabel("bits/byte")
        axis.set_title(figures.LABELS[name], fontsize=10.5)
        axis.locator_params(axis="x", nbins=3)
    title = "Bits/byte of held-out text (lower is better)"
    if "base" in table.index:  # a recipe that is tuned right after its merge has no row of the base
        new, english = (table[figures.LABELS[name]] for name in ("korean", "general_english"))
        language = figures.language_name()
        title = f"{language} of the corpus: {new['base']:.2f} → {new.min():.2f} bits/byte at best ({new.idxmin()});\n"
        title += f"general English: {english['base']:.2f} → {english.iloc[1:].min():.2f} to {english.iloc[1:].max():.2f}"
    figure.suptitle(title, **TITLE)
    return figure


def plot_scores(runs):
    """The average of table 6 with its 95 % interval, one row a recipe; the dashed line is the score of a constant answer."""
    scored = {recipe: run.metrics["tasks"].values() for recipe, run in tables.select_stage(runs, tables.SCORED).items()}
    average = np.array([100 * np.mean([t["score"] for t in tasks]) for tasks in scored.values()])
    # half the interval of the average over tasks, whose items are independent
    half = np.array([196 * np.linalg.norm([t["stderr"] for t in tasks]) / len(tasks) for tasks in scored.values()])
    constant = 100 * np.mean([tables.constant_score(task) for task in next(iter(scored.values()))])
    figure, (axis,) = _plot_rows(list(scored))
    axis.errorbar(average, range(len(scored)), xerr=half, fmt="o", color=OURS, capsize=3, label="this run, 95 %")
    theirs = [paper_table6()[name]["average"] if (name := paper_model(recipe)) else np.nan for recipe in scored]
    axis.plot(theirs, range(len(scored)), "D", ms=5, color=PAPER, label="the paper (13B)")
    axis.axvline(constant, color=INK, ls="--", lw=1, label="one constant answer")
    axis.set_xlabel("average of table 6 (%)")
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    above = (average - half > constant).sum()
    figure.suptitle(f"{above} of {len(scored)} averages lie clearly above one constant answer", **TITLE)
    return figure


def plot_claims(found):
    """Every claim (list of Claim) with an interval: this run's difference of scores, and the paper's as a diamond."""
    tested = pd.DataFrame(found).dropna(subset="value").reset_index()
    figure, (axis,) = _plot_rows(tested.says)
    counts = []
    for verdict, colour in VERDICT_COLOURS.items():
        own = tested[tested.verdict == verdict]
        counts.append(f"{len(own)} {verdict}")
        axis.hlines(own.index, own.low, own.high, color=colour, lw=2)
        axis.plot(own.value, own.index, "o", color=colour, label=verdict)
    axis.plot(tested.expected, tested.index, "D", ms=5, color=PAPER, label="the paper")
    axis.axvline(0, color=INK, lw=0.8)
    axis.set_xlabel("difference (points), 95 % interval over the items")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle(f"Of {len(tested)} tested claims: {', '.join(counts)}", **TITLE)
    return figure
