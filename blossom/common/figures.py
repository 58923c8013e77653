"""The style of all plots: colours, a font with Korean letters, and figures that several places draw."""

import koreanize_matplotlib  # noqa: F401  (importing it registers NanumGothic with matplotlib)
import matplotlib.pyplot as plt
import numpy as np

from blossom.common import paths

WIDE = (8.0, 3.6)  # inches

STYLE = paths.read_yaml_beside(__file__)
COLOURS, PIECE_COLOURS, MODELS, CYCLE, LABELS = (STYLE[n] for n in ("colours", "pieces", "models", "cycle", "labels"))


def set_language(language):
    """Put `language` (an English name) in place of "Korean" in the values of LABELS."""
    LABELS.update({"korean": f"{language} (corpus)", "general_korean": f"{language} (general)"})


def language_name():
    """The new language's name in LABELS."""
    return LABELS["korean"].removesuffix(" (corpus)")


def house_style():
    """A context in which plots have this project's Matplotlib settings."""
    return plt.style.context(["seaborn-v0_8-whitegrid", STYLE["matplotlib"]])  # importing seaborn itself takes two seconds


def grid_along(axis, which, thousands=""):
    """Draw grid lines for one axis ("x" or "y") only; labels of the axis `thousands` are like 15,000."""
    axis.grid(False, axis="y" if which == "x" else "x")
    if thousands:
        getattr(axis, f"{thousands}axis").set_major_formatter("{x:,.0f}")


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


def style_series(names):
    """{name: (colour, marker, line style)}, no two alike: a model's own colour, also of "base (reference)"; else CYCLE."""
    own = {name: MODELS.get(str(name).removesuffix(" (reference)")) for name in names}
    styles = {n: (c, *(("o", "solid") if n in MODELS else ("s", "dotted"))) for n, c in own.items() if c}
    for n, name in enumerate(name for name, colour in own.items() if not colour):
        turn, place = divmod(n, len(CYCLE))
        styles[name] = (CYCLE[place], *(((turn + 2, 0), (0, (2 * turn, 2))) if turn else ("o", "solid")))
    return {name: styles[name] for name in own}


def plot_intervals(axis, series, zero, styles=None):
    """Points with intervals: a line a row, a style for each of {label: DataFrame of value, low, high}; zero: dashed."""
    rows = list(dict.fromkeys(name for table in series.values() for name in table.index))
    beside = {name: [label for label, table in series.items() if name in table.index] for name in rows}
    for label, (colour, marker, _) in (styles or style_series(series)).items():
        table, look = series[label], {"color": colour, "marker": marker, "ls": "none", "ms": 5, "capsize": 2}
        places = [rows.index(r) + 0.7 * (beside[r].index(label) + 0.5) / len(beside[r]) - 0.35 for r in table.index]
        value, low, high = table.to_numpy(dtype=float).T
        label = label.replace("→", "to")  # the shipped font's arrow is hardly seen
        axis.errorbar(value, places, xerr=[value - low, high - value], label=label, **look)
    axis.axvline(zero, color=COLOURS["ink"], linestyle="dashed", linewidth=1)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    grid_along(axis, "x")


def plot_spelling(rows, title):
    """A row of boxes for each tokenizer, one box a piece; `rows` is {name: readable pieces ("▁먹", "<0xED>")}."""
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
    axis.spines[:].set_visible(False)
    return figure


def plot_preference(axis, shares, labels):
    """Stacked bars of wins, ties and losses with 95 % intervals, from `summarize_verdicts` (B, figures 2 to 5).

    The part of the ties where a judge's two orders disagree is hatched. The lower line is the interval of the wins, the
    upper one that of the losses.
    """
    ink, grey, rows = COLOURS["ink"], "#E3E3E3", np.arange(len(shares))
    pieces = 100 * shares[["win", "tie", "flipped", "loss"]].assign(tie=shares.tie - shares.flipped).set_axis(labels)
    colours = [COLOURS["ours"], grey, "white", COLOURS["base"]]
    pieces.plot.barh(ax=axis, stacked=True, width=0.62, legend=False, color=colours)
    for bars, colour in zip(axis.containers, ("white", ink, ink, "white"), strict=True):
        numbers = [f"{bar.get_width():.0f} %" if bar.get_width() >= 7 else "" for bar in bars]  # a narrower bar has no room
        axis.bar_label(bars, numbers, label_type="center", color=colour, fontsize=10)
    for bar in axis.containers[2]:
        bar.set(hatch="////", edgecolor="#BDBDBD", linewidth=0)
    axis.hlines(rows + 0.22, 100 * shares.win_low, 100 * shares.win_high, color=ink, linewidth=1.4)
    axis.hlines(rows - 0.22, 100 - 100 * shares.loss_high, 100 - 100 * shares.loss_low, color=ink, linewidth=1.4)
    for row, (prompts, verdicts) in enumerate(zip(shares.prompts, shares.verdicts, strict=True)):
        more = f"\n{verdicts:.0f} verdicts" if verdicts != prompts else ""
        axis.text(101, row, f"{prompts:.0f} prompts{more}", va="center", fontsize=9.5)
    for x, name, side in ((0, "win", "left"), (50, "neither", "center"), (100, "loss", "right")):
        axis.text(x, -0.42, name, ha=side, va="bottom", fontsize=10, color=ink)
    hatched = "\nhatched: no verdict, the judge's two orders disagree" if (shares.flipped > 0).any() else ""
    axis.set(xlim=(0, 100), xlabel=f"share of verdicts (%), lines: 95 % intervals{hatched}", ylim=(len(shares) - 0.5, -0.8))
    grid_along(axis, "x")
