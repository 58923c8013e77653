"""Figures 2 to 5 of the paper (B, section 6) from a run's own verdicts."""

from collections import namedtuple

from blossom.preference.prompts import LANGUAGES
from blossom.preference.verdicts import summarize_verdicts

# one figure: its number in the paper, file name, title, rows of `summarize_verdicts`, and their labels
Panel = namedtuple("Panel", "figure name title shares labels")


def make_panels(verdicts, model, measured, seed=0):
    """Make a Panel for every figure that the settled verdicts on `model` have data for.

    measured  table of `measure_answers`, for the labels
    """
    right = measured.set_index(["model", "language"]).answered_in_language
    korean_only = model.replace("biSFT", "koSFT") if model.endswith("biSFT") else None
    panels = []
    for source, rows in verdicts[verdicts.model_a == model].groupby("source", sort=False):
        people, others = source == "people", rows[rows.model_b != korean_only]
        who = f"people (raters: {rows.rater.nunique()})" if people else f"judge {source}"
        for number, chosen, topic in (
            (2 if people else 3, others[others.language == "ko"], "Korean prompts"),
            (4, rows[rows.model_b == korean_only], "instructions in two languages or one"),
            (5, others[others.language == "en"], "English prompts"),
        ):
            if len(chosen):
                shares = summarize_verdicts(chosen, seed=seed)
                name = f"figure{number}" + ("" if number < 4 else "_people" if people else "_judge")
                labels = [_label(row, right) for row in shares.itertuples()]
                panels.append(Panel(number, name, f"{model}: {topic}, verdicts of {who}", shares, labels))
    return sorted(panels, key=lambda panel: panel.figure)


def _label(row, right):
    result = "beats" if row.rate_low > 0.5 else "loses to" if row.rate_high < 0.5 else "not told apart from"
    language = LANGUAGES[row.language]
    ours, theirs = (right[model, row.language] for model in (row.model_a, row.model_b))
    return f"{result} {row.model_b}, {language} prompts\n{language} answers: {ours:.0%} against {theirs:.0%}"
