"""The report's own figures; each takes what `read_runs` gives, and works for any number of recipes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from blossom.benchmark.papers import paper_model, paper_table6, read_papers
from blossom.benchmark.tables import wilson_interval
from blossom.common import figures
from blossom.report.tables import TEXTS, tabulate_answers, tabulate_bits, tabulate_costs, text_megabytes

GREY = figures.COLOURS["base"]
VERDICT_COLOURS = {"supported": figures.COLOURS["ours"], "not supported": figures.COLOURS["trained"], "undecided": GREY}
TITLE = {"fontsize": 12, "fontweight": "bold", "ha": "left", "x": 0.01}


def _rows_figure(count, columns=1, width=9.0, **options):
    """A figure for `count` rows of one thing each, first row on top; returns (figure, axes)."""
    figure, axes = plt.subplots(1, columns, figsize=(width, 0.36 * count + 1.5), sharey=True, **options)
    for axis in np.atleast_1d(axes):
        axis.set_ylim(count - 0.4, -0.6)
    return figure, axes


def plot_bits(runs):
    """Bits/byte of the four held-out texts: a row a recipe, a panel a text, dotted where the base is.

    Raises ValueError when no recipe was trained (`tables.tabulate_bits` is empty then).
    """
    table = tabulate_bits(runs)
    if not len(table):
        raise ValueError("recipes: none of them was trained (stages 03, 04), so there are no bits/byte to draw")
    figure, axes = _rows_figure(len(table), len(TEXTS))
    for axis, name in zip(axes, TEXTS, strict=True):
        values = table[figures.LABELS[name]]
        if "base" in values:
            axis.axvline(values["base"], color=GREY, ls=":", lw=1.2)
        axis.plot(values, range(len(values)), "o", color=figures.COLOURS[name])
        for row, value in enumerate(values):
            axis.annotate(f"{value:.2f}", (value, row), (0, 5), textcoords="offset points", ha="center", fontsize=8)
        room = 0.25 * (values.max() - values.min()) or 0.1
        axis.set(title=figures.LABELS[name], xlabel="bits/byte", xlim=(values.min() - room, values.max() + room))
        axis.title.set_fontsize(10.5)
        axis.locator_params(axis="x", nbins=3)
    axes[0].set_yticks(range(len(table)), table.index)
    figure.suptitle(_bits_title(table), **TITLE)
    return figure


def _bits_title(table):
    if "base" not in table.index:  # a recipe that is tuned right after its merge has no row of the base
        return "Bits/byte of held-out text (lower is better)"
    new, english = (table[figures.LABELS[k]] for k in ("korean", "general_english"))
    ends = dict.fromkeys(f"{x:.2f}" for x in (english.iloc[1:].min(), english.iloc[1:].max()))
    return (
        f"{figures.language_name()} of the corpus: {new['base']:.2f} → {new.min():.2f} bits/byte at best"
        f" ({new.idxmin()});\n"
        f"general English: {english['base']:.2f} → {' to '.join(ends)} (lower is better; dotted: the base)"
    )


def plot_scores(runs):
    """Table 6: on the left averages with 95 % intervals beside the paper's, on the right every task's score.

    Raises ValueError when no recipe was scored.
    """
    scored = {r: run.metrics for (r, s), run in runs.items() if s == "05_benchmark_eval"}
    if not scored:
        raise ValueError("recipes: none of them was scored (stage 05), so there is no table 6 to draw")
    tasks = list(next(iter(scored.values()))["tasks"])
    labels = read_papers()["bllossom"]["table6"]["labels"]
    scores = pd.DataFrame({r: {t: 100 * m["tasks"][t]["score"] for t in tasks} for r, m in scored.items()}).T
    constant = {t: 100 * _constant(next(iter(scored.values()))["tasks"][t]) for t in tasks}
    scores.loc["one constant answer"] = constant
    figure, (left, right) = _rows_figure(len(scores), 2, 10.0, width_ratios=[1, 1.9])
    average, places = scores.mean(axis=1), range(len(scores))
    error = [_half_width(scored[r]["tasks"]) if r in scored else 0 for r in scores.index]
    left.errorbar(average, places, xerr=error, fmt="o", color=figures.COLOURS["ours"], capsize=3, label="this run, 95 %")
    papers = [(paper_table6()[paper_model(r)]["average"], n) for n, r in enumerate(scored) if _in_paper(r)]
    if papers:
        left.plot(*zip(*papers, strict=True), "D", ms=5, color=figures.COLOURS["paper"], label="the paper (13B)")
    left.axvline(average.iloc[-1], color=figures.COLOURS["ink"], ls="--", lw=1)
    left.set(xlabel="average (%)", yticks=places)
    left.set_yticklabels(scores.index)
    figure.legend(loc="outside lower left", ncols=2, fontsize=9)
    shown = scores.rename(columns=labels).to_numpy()
    right.imshow(shown, aspect="auto", cmap="crest", vmin=0, vmax=100, alpha=0.75)
    for (row, column), value in np.ndenumerate(shown):
        right.text(
            column, row, f"{value:.0f}", ha="center", va="center", fontsize=9, color="white" if value > 45 else "black"
        )
    right.set_xticks(range(len(tasks)), [labels.get(t, t) for t in tasks], fontsize=9)
    right.grid(False)
    above = [r for r, half in zip(scored, error, strict=False) if average[r] - half > average.iloc[-1]]
    figure.suptitle(
        f"{len(above)} of {len(scored)} averages lie clearly above one constant answer (dashed)",
        **TITLE,
    )
    return figure


def _in_paper(recipe):
    return paper_model(recipe) is not None


def _constant(score):
    return score["majority_share"] if score.get("constant") is None else score["constant"]


def _half_width(tasks):
    """Half the 95 % interval of an average over tasks, in points; tasks have items of their own."""
    return 196 * float(np.sqrt(sum(t["stderr"] ** 2 for t in tasks.values()))) / len(tasks)


def plot_claims(found):
    """Every claim that was tested: the difference with its 95 % interval, and the paper's own as a diamond."""
    tested = [c for c in found if c.value is not None]
    figure, axis = _rows_figure(max(1, len(tested)), width=9.0)
    for row, claim in enumerate(tested):
        colour = VERDICT_COLOURS[claim.verdict]
        axis.plot([claim.low, claim.high], [row, row], "|-", color=colour, lw=2)
        axis.plot(claim.value, row, "o", color=colour)
        axis.plot(claim.expected, row, "D", ms=5, color=figures.COLOURS["paper"])
    axis.axvline(0, color=figures.COLOURS["ink"], lw=0.8)
    axis.set_yticks(range(len(tested)), [c.says for c in tested], fontsize=9)
    for name, colour in VERDICT_COLOURS.items():
        axis.plot([], [], "o-", color=colour, label=name)
    axis.plot([], [], "D", ms=5, ls="", color=figures.COLOURS["paper"], label="the paper")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    axis.set(xlabel="difference (points), 95 % interval over the items")
    counts = [f"{sum(c.verdict == v for c in tested)} {v}" for v in VERDICT_COLOURS]
    figure.suptitle(f"Of {len(tested)} tested claims: {', '.join(counts)}", **TITLE)
    return figure


def plot_expansion(runs):
    """Expansion at equal tokens and at equal text: bits/byte of the new language along training, over both."""
    stage, language = "03_bilingual_pretraining", figures.language_name()
    chosen = {r: runs[r, stage] for r in ("base-ko", "blossom-ko", "blossom-ko-text") if (r, stage) in runs}
    figure, axes = plt.subplots(1, 2, figsize=figures.WIDE, sharey=True)
    for (recipe, run), colour in zip(chosen.items(), (GREY, figures.COLOURS["ours"], figures.CYCLE[0]), strict=False):
        during = pd.DataFrame(run.metrics["bits_per_byte"]["during"])
        size = 1000 * sum(text_megabytes(run).values()) / sum(run.metrics["tokens"].values())  # KB a token
        for axis, scale in zip(axes, (1e-3, size), strict=True):
            axis.plot(scale * during["tokens"], during["korean"], "o-", color=colour, label=recipe)
            axis.annotate(
                f"{during['korean'].iloc[-1]:.2f}",
                (scale * during["tokens"].iloc[-1], during["korean"].iloc[-1]),
                (4, 5),
                textcoords="offset points",
                fontsize=9,
                color=colour,
            )
    axes[0].set(xlabel="thousand tokens read (compute)", ylabel=f"{language} bits/byte")
    axes[1].set(xlabel="KB of text read")
    axes[0].legend(fontsize=9)
    last = {r: run.metrics["bits_per_byte"]["after"]["korean"] for r, run in chosen.items()}
    told = " and ".join(
        f"{last[r] - last['base-ko']:+.2f} {how}"
        for r, how in (("blossom-ko", "at equal tokens"), ("blossom-ko-text", "at equal text"))
        if {r, "base-ko"} <= set(last)
    )
    figure.suptitle(
        f"Expansion against none, {language} bits/byte: {told}",
        **TITLE,
    )
    return figure


def plot_answers(runs):
    """How often models answer in the language of the question, with 95 % intervals: what figures 2 to 5 rest on at least."""
    table = tabulate_answers(runs)
    models = list(dict.fromkeys(table["model"]))
    figure, axes = _rows_figure(len(models), 2, 8.0)
    for axis, (language, label) in zip(axes, (("ko", "Korean"), ("en", "English")), strict=True):
        own = table[table["language"] == language].set_index("model").loc[models]
        share, count = own["answered in language"].to_numpy(float), own["answers"].to_numpy(float)
        low, high = (np.clip(b, 0, 1) for b in wilson_interval(share, count))
        error = 100 * np.abs(np.array([share - low, high - share]))
        axis.errorbar(
            100 * share, range(len(models)), xerr=error, fmt="o", capsize=3, color=figures.COLOURS[_colour(language)]
        )
        axis.set(title=f"{label} prompts answered in {label}", xlabel="share (%), 95 % interval", xlim=(-4, 104))
    axes[0].set_yticks(range(len(models)), models)
    return figure


def _colour(language):
    return {"ko": "korean", "en": "english"}[language]


def plot_costs(runs):
    """Wall time of every stage that ran, with its peak memory written beside."""
    table = tabulate_costs(runs)
    table["run"] = table["recipe"] + " · " + table["stage"].str[:2] + " " + table["stage"].str[3:].str.replace("_", " ")
    figure, axis = plt.subplots(figsize=(8, 0.3 * len(table) + 1.2))
    sns.barplot(table, y="run", x="wall time (s)", color=figures.COLOURS["ours"], ax=axis)
    labels = [f"{s:.0f} s, {g:.1f} GB" for s, g in zip(table["wall time (s)"], table["peak memory (GB)"], strict=True)]
    axis.bar_label(axis.containers[0], labels, fontsize=8, padding=3)
    axis.set_xlim(0, table["wall time (s)"].max() * 1.2)
    axis.tick_params(axis="y", labelsize=9)
    total, peak = table["wall time (s)"].sum(), table["peak memory (GB)"].max()
    axis.set(ylabel="")
    axis.set_title(f"{total / 60:.1f} minutes of stages in all, {peak:.1f} GB at the most")
    return figure
