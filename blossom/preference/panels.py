"""Figures 2 to 5 of the paper (B, section 6) from a run's own verdicts.

2  people on Korean prompts: this model against the others
3  a judging model on the same prompts
4  instructions in two languages against instructions in Korean alone, on Korean and English prompts
5  English prompts: is English kept?
"""

import textwrap
from dataclasses import dataclass

import pandas as pd

from blossom.preference.prompts import LANGUAGES
from blossom.preference.statistics import summarize_verdicts
from blossom.preference.verdicts import turn_verdicts


@dataclass(frozen=True)
class Panel:
    """One figure: its number in the paper, its file's name, its title, rows of `summarize_verdicts` and a label for each."""

    figure: int
    name: str
    title: str
    shares: pd.DataFrame
    labels: list


def make_panels(verdicts, model, measured, seed=0):
    """A Panel for every figure that these verdicts fill, in the paper's order.

    verdicts  table of `make_verdicts`, settled;  model  the one that the figures are about
    measured  table of `measure_answers`: each label says how often both models answer in the prompt's language
    """
    own = turn_verdicts(verdicts, model)
    right = measured.set_index(["model", "language"]).answered_in_language
    korean_only = model.replace("biSFT", "koSFT") if model.endswith("biSFT") else None
    panels = []
    for source, rows in own.groupby("source", sort=False):
        people, others = source == "people", rows[rows.model_b != korean_only]
        raters = rows.rater.nunique()
        who = f"people ({raters} rater{'s' * (raters > 1)})" if people else f"judge {source}"
        for number, chosen, topic in (
            (2 if people else 3, others[others.language == "ko"], "Korean prompts"),
            (4, rows[rows.model_b == korean_only], "instructions in two languages or one"),
            (5, others[others.language == "en"], "English prompts"),
        ):
            if chosen.empty:
                continue
            shares = summarize_verdicts(chosen, seed=seed)
            found = textwrap.fill(describe_shares(shares, model), 76, break_on_hyphens=False)
            labels = [_label(row, right, with_language=number == 4) for row in shares.itertuples()]
            name = f"figure{number}" + ("" if number < 4 else "_people" if people else "_judge")
            panels.append(Panel(number, name, f"{topic}, verdicts of {who}\n{found}", shares, labels))
    return sorted(panels, key=lambda panel: panel.figure)


def _label(row, right, with_language):
    language = LANGUAGES[row.language]
    ours, theirs = (right[model, row.language] for model in (row.model_a, row.model_b))
    against = f"{row.model_b}, {language} prompts" if with_language else row.model_b
    return f"{against}\n{language} answers: {ours:.0%} against {theirs:.0%}"


def describe_shares(shares, model):
    """Which models `model` beats or loses to, by the intervals of `summarize_verdicts`'s rows, in a sentence.

    Example: "ours: beats x; not told apart from y, z"
    """
    if (shares.win + shares.loss == 0).all():
        return "no pair was decided"
    several = shares.language.nunique() > 1 and shares.model_b.nunique() == 1
    groups = {"beats": [], "loses to": [], "not told apart from": []}
    for row in shares.itertuples():
        verb = "beats" if row.rate_low > 0.5 else "loses to" if row.rate_high < 0.5 else "not told apart from"
        groups[verb].append(f"{row.model_b} in {LANGUAGES[row.language]}" if several else row.model_b)
    return f"{model}: " + "; ".join(f"{verb} {', '.join(names)}" for verb, names in groups.items() if names)
