"""The report's figures. Each takes the finished runs, dict (recipe, stage) -> FinishedRun, of any number of recipes."""

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
ABOVE = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center"}


def _plot_rows(labels, columns=1, width=9.0, **options):
    """(figure, array of axes) with a labelled row for each of `labels`, the first on top."""
    count = len(labels)
    size = (width, 0.36 * max(1, count) + 1.5)
    figure, axes = plt.subplots(1, columns, figsize=size, sharey=True, squeeze=False, **options)
    axes[0, 0].set(ylim=(count - 0.4, -0.6), yticks=range(count))
    axes[0, 0].set_yticklabels(labels)
    return figure, axes[0]


def plot_bits(runs):
    """Bits/byte of the four held-out texts: a row a recipe, a panel a text; the dotted line is the base.

    Raises ValueError when no recipe was trained.
    """
    table = tables.tabulate_bits(runs)
    if not len(table):
        raise ValueError("recipes: none of them was trained (stages 03, 04), so there are no bits/byte to draw")
    figure, axes = _plot_rows(table.index, len(TEXTS))
    for axis, name in zip(axes, TEXTS, strict=True):
        values = table[figures.LABELS[name]]
        if "base" in values:
            axis.axvline(values["base"], color=GREY, ls=":", lw=1.2)
        axis.plot(values, range(len(values)), "o", color=figures.COLOURS[name])
        for row, value in enumerate(values):
            axis.annotate(f"{value:.2f}", (value, row), fontsize=8, **ABOVE)
        room = 0.25 * (values.max() - values.min()) or 0.1
        axis.set(xlabel="bits/byte", xlim=(values.min() - room, values.max() + room))
        axis.set_title(figures.LABELS[name], fontsize=10.5)
        axis.locator_params(axis="x", nbins=3)
    figure.suptitle(_bits_title(table), **TITLE)
    return figure


def _bits_title(table):
    if "base" not in table.index:  # a recipe that is tuned right after its merge has no row of the base
        return "Bits/byte of held-out text (lower is better)"
    new, english = (table[figures.LABELS[k]] for k in ("korean", "general_english"))
    ends = dict.fromkeys(f"{x:.2f}" for x in (english.iloc[1:].min(), english.iloc[1:].max()))
    return (
        f"{figures.language_name()} of the corpus: {new['base']:.2f} → {new.min():.2f} bits/byte at best ({new.idxmin()});\n"
        f"general English: {english['base']:.2f} → {' to '.join(ends)} (lower is better; dotted: the base)"
    )


def plot_scores(runs):
    """The average of table 6 with its 95 % interval, a row a recipe; the paper's as a diamond; dashed: one constant answer.

    Raises ValueError when no recipe was scored.
    """
    scored = {
        recipe: list(run.metrics["tasks"].values()) for recipe, run in tables.select_stage(runs, tables.SCORED).items()
    }
    if not scored:
        raise ValueError("recipes: none of them was scored (stage 05), so there is no table 6 to draw")
    average = {recipe: 100 * np.mean([t["score"] for t in tasks]) for recipe, tasks in scored.items()}
    error = {recipe: _average_error(tasks) for recipe, tasks in scored.items()}
    constant = 100 * np.mean([tables.constant_score(t) for t in next(iter(scored.values()))])
    figure, (axis,) = _plot_rows(scored)
    look = {"fmt": "o", "color": OURS, "capsize": 3, "label": "this run, 95 %"}
    axis.errorbar(list(average.values()), range(len(scored)), xerr=list(error.values()), **look)
    theirs = [(paper_table6()[paper_model(r)]["average"], n) for n, r in enumerate(scored) if paper_model(r)]
    if theirs:
        axis.plot(*zip(*theirs, strict=True), "D", ms=5, color=PAPER, label="the paper (13B)")
    axis.axvline(constant, color=INK, ls="--", lw=1, label="one constant answer")
    axis.set(xlabel="average of table 6 (%)")
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    above = sum(average[r] - error[r] > constant for r in scored)
    figure.suptitle(f"{above} of {len(scored)} averages lie clearly above one constant answer", **TITLE)
    return figure


def _average_error(tasks):
    """Half the 95 % interval of an average over tasks, in points; the tasks' items are independent."""
    return 196 * float(np.sqrt(sum(t["stderr"] ** 2 for t in tasks))) / len(tasks)


def plot_claims(found):
    """Every claim with an interval: the difference of scores, and the paper's difference as a diamond."""
    tested = [c for c in found if c.value is not None]
    figure, (axis,) = _plot_rows([c.says for c in tested])
    for row, claim in enumerate(tested):
        colour = VERDICT_COLOURS[claim.verdict]
        axis.plot([claim.low, claim.high], [row, row], "|-", color=colour, lw=2)
        axis.plot(claim.value, row, "o", color=colour)
        axis.plot(claim.expected, row, "D", ms=5, color=PAPER)
    axis.axvline(0, color=INK, lw=0.8)
    axis.tick_params(axis="y", labelsize=9)
    for name, colour in VERDICT_COLOURS.items():
        axis.plot([], [], "o-", color=colour, label=name)
    axis.plot([], [], "D", ms=5, ls="", color=PAPER, label="the paper")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    axis.set(xlabel="difference (points), 95 % interval over the items")
    counts = [f"{sum(c.verdict == v for c in tested)} {v}" for v in VERDICT_COLOURS]
    figure.suptitle(f"Of {len(tested)} tested claims: {', '.join(counts)}", **TITLE)
    return figure


def plot_expansion(runs):
    """Bits/byte of the new language during pretraining, with and without expansion: over tokens and over text."""
    language = figures.language_name()
    chosen = {r: runs[r, tables.TRAINED] for r in tables.EXPANSION if (r, tables.TRAINED) in runs}
    figure, axes = plt.subplots(1, 2, figsize=figures.WIDE, sharey=True)
    for (recipe, run), colour in zip(chosen.items(), (GREY, OURS, figures.CYCLE[0]), strict=False):
        during = pd.DataFrame(run.metrics["bits_per_byte"]["during"])
        kilobytes = 1000 * sum(tables.sum_megabytes(run).values()) / sum(run.metrics["tokens"].values())  # of a token
        for axis, scale in zip(axes, (1e-3, kilobytes), strict=True):
            x, y = scale * during["tokens"], during["korean"]
            axis.plot(x, y, "o-", color=colour, label=recipe)
            axis.annotate(f"{y.iloc[-1]:.2f}", (x.iloc[-1], y.iloc[-1]), fontsize=9, color=colour, **ABOVE)
    axes[0].set(xlabel="thousand tokens read (compute)", ylabel=f"{language} bits/byte")
    axes[1].set(xlabel="KB of text read")
    axes[0].legend(fontsize=9)
    last = {r: run.metrics["bits_per_byte"]["after"]["korean"] for r, run in chosen.items()}
    arms = (("blossom-ko", "at equal tokens"), ("blossom-ko-text", "at equal text"))
    found = [f"{last[r] - last['base-ko']:+.2f} {how}" for r, how in arms if {r, "base-ko"} <= set(last)]
    figure.suptitle(f"Expansion against none, {language} bits/byte: {' and '.join(found)}", **TITLE)
    return figure
