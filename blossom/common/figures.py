"""The style of all plots: colours, a font with Korean letters, and the figures that more than one place draws.

with figures.house_style():
    figure, axis = plt.subplots(figsize=figures.WIDE)
"""

from contextlib import contextmanager

import koreanize_matplotlib  # noqa: F401  (importing it registers NanumGothic with matplotlib)
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.ticker import StrMethodFormatter

WIDE = (8.0, 3.6)  # inches

# Okabe and Ito's colours, which colour-blind readers can tell apart. A colour has one meaning in all figures.
COLOURS = {
    "korean": "#D55E00",
    "english": "#0072B2",
    "general_korean": "#E69F00",
    "general_english": "#56B4E9",
    "base": "#8C8C8C",
    "ours": "#009E73",
    "trained": "#CC3311",  # trained parameters are red, frozen ones blue, as in the papers
    "frozen": "#33659A",
    "merged": "#9FD8C4",  # the merged model before training
    "bytes": "#CC3311",  # tokens that are a part of a character
    "whole": "#33659A",  # tokens of whole characters
    "paper": "#CC79A7",
    "ink": "#222222",
}
PIECE_COLOURS = ["#CC3311", "#C6DBEF", "#6BAED6", "#2171B5"]  # tokens of a part of a character, of one, two, more
CYCLE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#8C8C8C"]  # for tokenizers, models, methods
LABELS = {
    "korean": "Korean (corpus)",
    "english": "English (corpus)",
    "general_korean": "Korean (general)",
    "general_english": "English (general)",
}


def set_language(language):
    """Write `language` (an English name) instead of Korean in LABELS; the keys stay."""
    LABELS.update({"korean": f"{language} (corpus)", "general_korean": f"{language} (general)"})


def language_name():
    """The new language's name in the labels."""
    return LABELS["korean"].removesuffix(" (corpus)")


@contextmanager
def house_style():
    """Matplotlib's settings inside the `with` block."""
    settings = {
        "font.family": "NanumGothic",
        "font.size": 12,  # readable when the figure is shown at half its size
        "axes.titlesize": 13,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.unicode_minus": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": COLOURS["ink"],
        "grid.color": "#E3E3E3",
        "legend.frameon": False,
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
    }
    with sns.axes_style("whitegrid"), plt.rc_context(settings):
        yield


def grid_along(axis, which, thousands=False):
    """Draw grid lines for the axis of values ("x" or "y") only; with `thousands` its labels are like 15,000."""
    axis.grid(False, axis="y" if which == "x" else "x")
    if thousands:
        getattr(axis, f"{which}axis").set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def plot_grouped_bars(axis, table, colours, fmt="%.2f"):
    """Bars labelled with their numbers: a group for each row of `table` (DataFrame), a colour for each column."""
    table.plot.bar(ax=axis, color=list(colours), width=0.84, rot=0)
    for bars in axis.containers:
        axis.bar_label(bars, fmt=fmt, fontsize=10 if table.size <= 12 else 8.5, padding=1)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(table.columns))
    axis.set(xlabel="", ylim=(0, 1.1 * table.to_numpy().max()))
    grid_along(axis, "y")


def describe_change(before, after):
    """Words for a title. Example: (2.53, 1.77) -> "falls from 2.53 to 1.77"."""
    a, b = f"{before:.2f}", f"{after:.2f}"
    return f"stays at {a}" if a == b else f"{'falls' if after < before else 'rises'} from {a} to {b}"


def plot_score_table(axis, table, printed):
    """Scores in percent as a heat map: the first `printed` rows are a paper's, the others this run's."""
    sns.heatmap(table, annot=True, fmt=".1f", cmap="crest", vmin=0, vmax=100, cbar=False, ax=axis)
    axis.axhline(printed, color="white", linewidth=5)
    reached = " · ".join(f"{model} {value:.1f}" for model, value in table["AVG"].iloc[printed:].dropna().items())
    axis.set_title(f"Averages below the paper's 13B: {reached}", x=-0.28, fontsize=12)


def plot_score_steps(scored, titles, constant, stars):
    """A panel for each task: its score from model to model with standard errors; dashed: one constant answer's score.

    scored    {model: {task: {"score", "stderr"}}}, scores 0 to 1
    titles    {task: title of its panel}
    constant  {task: score of one constant answer}, 0 to 1
    stars     list of (task, step) with a significant change; step 0 is from the first model to the second
    """
    rows, models = -(-len(titles) // 5), list(scored)
    figure, axes = plt.subplots(rows, 5, figsize=(10, 1.9 * rows + 1.3), sharex=True, sharey=True, squeeze=False)
    for number, (axis, task) in enumerate(zip(axes.flat, titles, strict=False)):
        values, errors = ([100 * scored[m][task][k] for m in models] for k in ("score", "stderr"))
        axis.errorbar(models, values, errors, fmt="o-", color=COLOURS["ours"], capsize=3)
        axis.axhline(100 * constant[task], color=COLOURS["ink"], linestyle="dashed", linewidth=1)
        for step in [step for starred, step in stars if starred == task]:
            axis.text(step + 0.5, 98, "*", ha="center", va="top", size=20, color=COLOURS["trained"])
        axis.set_title(titles[task], fontsize=11)
        axis.set(ylim=(0, 105), xlim=(-0.4, len(models) - 0.6))
        grid_along(axis, "y")
        axis.tick_params(axis="x", labelbottom=number >= len(titles) - 5)
        plt.setp(axis.get_xticklabels(), rotation=35, ha="right", rotation_mode="anchor", fontsize=10)
    for axis in axes.flat[len(titles) :]:
        axis.remove()
    return figure


def plot_josa(axis, tables):
    """How often the right form of a josa is preferred, with 95 % intervals; a group for each pair of forms.

    tables  {model: DataFrame with pair, items, right, low, high}
    """
    colours = [COLOURS["base"], *(c for c in CYCLE if c != COLOURS["base"])]
    for n, (model, rows) in enumerate(tables.items()):
        places = [i + (n - (len(tables) - 1) / 2) * 0.8 / len(tables) for i in range(len(rows))]
        errors = [100 * (rows["right"] - rows["low"]), 100 * (rows["high"] - rows["right"])]
        look = {"yerr": errors, "capsize": 3, "color": colours[n % len(colours)], "label": model}
        axis.bar(places, 100 * rows["right"], 0.74 / len(tables), **look)
    axis.axhline(50, color=COLOURS["ink"], linestyle="dashed")
    axis.set_xticks(range(len(rows)), [f"{r['pair']}\n({r['items']} pairs)" for _, r in rows.iterrows()])
    axis.set(ylabel="right form preferred (%)\nwith 95 % interval", ylim=(0, 102), yticks=range(0, 101, 25))
    grid_along(axis, "y")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4)


def plot_spelling(rows, title):
    """How tokenizers split a sentence: a row of boxes for each tokenizer, parts of characters in red; returns the figure.

    rows  {name: readable pieces ("▁먹", "<0xED>")}
    """
    longest = max(map(len, rows.values()))
    figure, axis = plt.subplots(figsize=(max(8.0, 0.42 * longest + 2.4), 0.56 * len(rows) + 0.9))
    for y, (_, pieces) in enumerate(rows.items()):
        for x, piece in enumerate(pieces):
            colour = COLOURS["bytes"] if "<0x" in piece else COLOURS["whole"]
            axis.add_patch(plt.Rectangle((x + 0.04, y - 0.36), 0.92, 0.72, facecolor=colour, alpha=0.16, edgecolor=colour))
            shown = piece.replace("<0x", "").replace(">", "").replace("▁", "_")  # the shipped font has no ▁
            size = 14 if len(shown) <= 2 else 11 if len(shown) == 3 else 9 if len(shown) <= 5 else 6.5
            axis.text(x + 0.5, y, shown, ha="center", va="center", size=size, color=COLOURS["ink"])
    axis.set(xlim=(0, longest), ylim=(len(rows) - 0.4, -0.6), xticks=[], title=title)
    axis.set_yticks(range(len(rows)), [f"{name} ({len(pieces)})" for name, pieces in rows.items()])
    axis.grid(False)
    for side in axis.spines.values():
        side.set_visible(False)
    return figure


def plot_preference(axis, shares, labels):
    """The Bllossom paper's figures 2 to 5: stacked bars of wins, ties and losses, with 95 % intervals.

    shares  DataFrame: win, tie, loss (each with _low, _high), flipped (the part of tie where a judge's two orders
            disagreed; it is hatched), prompts, verdicts
    labels  names of the rows, the first on top; ValueError when they are not as many as the rows
    The lower whisker is the interval of the win share, the upper one that of the loss share.
    """
    if len(labels) != len(shares):
        raise ValueError(f"labels: expected {len(shares)}, one a row, found {len(labels)}")
    rows, grey = range(len(shares)), "#E3E3E3"
    neither, start = shares.tie - shares.flipped, 0
    for width, look, ink in (
        (shares.win, {"color": COLOURS["ours"]}, "white"),
        (neither, {"color": grey}, COLOURS["ink"]),
        (shares.flipped, {"facecolor": "white", "hatch": "////", "edgecolor": "#BDBDBD", "linewidth": 0}, COLOURS["ink"]),
        (shares.loss, {"color": COLOURS["base"]}, "white"),
    ):
        width = 100 * width.to_numpy()
        axis.barh(rows, width, left=start, height=0.62, **look)
        start = start + width
        for row, (end, size) in enumerate(zip(start, width, strict=True)):
            if size >= 7:  # a narrower piece has no room for its number
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1} if "hatch" in look else None
                axis.text(end - size / 2, row, f"{size:.0f} %", ha="center", va="center", color=ink, fontsize=10, bbox=box)
    for row, (_, s) in enumerate(shares.iterrows()):
        for low, high, down in ((s.win_low, s.win_high, 0.22), (1 - s.loss_high, 1 - s.loss_low, -0.22)):
            axis.plot([100 * low, 100 * high], [row + down] * 2, "|-", color=COLOURS["ink"], linewidth=1.4, markersize=6)
        n = f"{s.prompts:.0f} prompts" + (f"\n{s.verdicts:.0f} verdicts" if s.verdicts != s.prompts else "")
        axis.text(101, row, n, va="center", fontsize=9.5)
    middle = 100 * (shares.win.iloc[0] + shares.tie.iloc[0] / 2)
    for x, name, side in ((0, "win", "left"), (min(max(middle, 15), 85), "neither", "center"), (100, "loss", "right")):
        axis.text(x, -0.42, name, ha=side, va="bottom", fontsize=10, color=COLOURS["ink"])
    hatched = "\nhatched: no verdict, the judge's two orders disagree" if (shares.flipped > 0).any() else ""
    whiskers = f"share of verdicts (%), whiskers: 95 % intervals{hatched}"
    axis.set(xlim=(0, 100), xlabel=whiskers, ylim=(len(shares) - 0.5, -0.8))
    axis.set_yticks(rows, labels)
    axis.grid(False, axis="y")
    return axis
