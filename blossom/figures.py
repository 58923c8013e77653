"""The house style of plots: one palette, Korean that renders, titles that state what was found.

with figures.style():
    figure, axis = plt.subplots(figsize=figures.WIDE)
"""

from contextlib import contextmanager

import matplotlib.pyplot as plt
import seaborn as sns

WIDE, SQUARE, TALL = (8.0, 3.6), (5.2, 4.6), (8.0, 5.6)  # inches

# Okabe and Ito's colours: told apart by colour-blind readers. One colour means one thing in every figure.
COLOURS = {
    "korean": "#D55E00",
    "english": "#0072B2",
    "general_korean": "#E69F00",
    "general_english": "#56B4E9",
    "base": "#8C8C8C",
    "ours": "#009E73",
    "trained": "#CC3311",  # the papers' red: what learns
    "frozen": "#33659A",  # the papers' blue: what does not
    "paper": "#CC79A7",
    "ink": "#222222",
}
CYCLE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#8C8C8C"]  # for tokenizers, models, methods
LABELS = {
    "korean": "Korean (corpus)",
    "english": "English (corpus)",
    "general_korean": "Korean (general)",
    "general_english": "English (general)",
}


def speak_of(language):
    """From here on labels say `language` (an English name) where they said Korean; the keys stay."""
    LABELS.update({"korean": f"{language} (corpus)", "general_korean": f"{language} (general)"})


def korean_font():
    """Register the shipped NanumGothic with matplotlib; returns its family name."""
    import koreanize_matplotlib  # noqa: F401  (importing it registers the font)

    return "NanumGothic"


@contextmanager
def style():
    """Everything drawn inside has the house style, and only that."""
    family = korean_font()
    settings = {
        "font.family": family,
        "font.size": 11,
        "axes.titlesize": 12.5,
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


def close(figure):
    """Release a figure once it is saved and shown; notebooks that draw many would keep them all."""
    plt.close(figure)


def spelling(rows, title):
    """A figure of how tokenizers spell a sentence: one row of boxes each, bytes and parts of characters in red.

    rows  name -> readable pieces ("▁먹", "<0xED>"), as `tokenization.spell` gives them
    """
    longest = max(map(len, rows.values()))
    figure, axis = plt.subplots(figsize=(max(8.0, 0.5 * longest + 2.6), 0.62 * len(rows) + 0.9))
    for y, (_, pieces) in enumerate(rows.items()):
        for x, piece in enumerate(pieces):
            colour = COLOURS["trained"] if "<0x" in piece else COLOURS["frozen"]
            axis.add_patch(plt.Rectangle((x + 0.04, y - 0.36), 0.92, 0.72, facecolor=colour, alpha=0.16, edgecolor=colour))
            shown = piece.replace("<0x", "").replace(">", "").replace("▁", "_")  # the shipped font has no ▁
            size = 11 if len(shown) <= 3 else 8.5 if len(shown) <= 5 else 6.5
            axis.text(x + 0.5, y, shown, ha="center", va="center", size=size, color=COLOURS["ink"])
    axis.set(xlim=(0, longest), ylim=(len(rows) - 0.4, -0.6), xticks=[], title=title)
    axis.set_yticks(range(len(rows)), [f"{name} ({len(pieces)})" for name, pieces in rows.items()])
    axis.grid(False)
    for side in axis.spines.values():
        side.set_visible(False)
    return figure


def preference_bars(axis, shares, labels):
    """Figures 2-5 of B: a stacked bar of wins, ties and losses a row, with 95 % intervals and n.

    axis    matplotlib axes
    shares  DataFrame as `preference.statistics.summary` makes it: win, tie, loss (each with _low, _high), prompts, verdicts,
            flipped (hatched: the part of tie where a judge's two orders disagreed)
    labels  what stands beside each bar; the first row is on top
    The lower whisker is the interval of the win share, the upper one that of the loss share. Raises ValueError when the
    labels are not as many as the rows.
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
