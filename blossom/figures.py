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
LABELS = {
    "korean": "Korean (corpus)",
    "english": "English (corpus)",
    "general_korean": "Korean (general)",
    "general_english": "English (general)",
}


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
