"""The paper's figures 2 to 5 (B, section 6) from a run's own verdicts: which rows, whose verdicts, and what they show.

2  people on Korean prompts: this model against the others
3  a model as judge on the same
4  instructions in two languages against instructions in Korean alone, on Korean and on English prompts
5  English retained: English prompts against the others
"""

import textwrap
from dataclasses import dataclass

import pandas as pd

from blossom.preference.prompts import LANGUAGES
from blossom.preference.statistics import summarize_verdicts
from blossom.preference.verdicts import turn_verdicts

WIDTH = 76  # characters of a line of a title


@dataclass(frozen=True)
class Panel:
    """One figure's content.

    figure  its number in the paper;  name  of a file;  who  judged;  title  who judged what, then what was found
    shares  rows of `statistics.summarize_verdicts`;  labels  what stands beside each row
    """

    figure: int
    name: str
    who: str
    title: str
    shares: pd.DataFrame
    labels: list


def make_panels(verdicts, model, measured, seed=0):
    """Every figure that these verdicts fill, as a list of Panel.

    verdicts  table of `verdicts.make_verdicts`, a judge's orders settled;  model  the one the figures are about
    measured  `measures.measure_answers` of the answers: a bar says how often its model answers in the prompt's language
    """
    own = turn_verdicts(verdicts, model)
    right = measured.set_index(["model", "language"]).answered_in_language
    twin = model.replace("biSFT", "koSFT") if model.endswith("biSFT") else None  # the same, taught in Korean alone
    found = []
    for source, rows in own.groupby("source", sort=False):
        people = source == "people"
        count = rows.rater.nunique()
        who = f"people ({count} rater{'s' * (count > 1)})" if people else f"judge {source}"
        others = rows[rows.model_b != twin]
        for number, chosen, topic in (
            (2 if people else 3, others[others.language == "ko"], "Korean prompts"),
            (4, rows[rows.model_b == twin], "instructions in two languages or one"),
            (5, others[others.language == "en"], "English retained"),
        ):
            if chosen.empty:
                continue
            shares = summarize_verdicts(chosen, seed=seed)
            labels = [_label(row, right, with_language=number == 4) for row in shares.itertuples()]
            title = (
                f"{topic}, verdicts of {who}\n{textwrap.fill(describe_shares(shares, model), WIDTH, break_on_hyphens=False)}"
            )
            name = f"figure{number}" + ("" if number in (2, 3) else "_people" if people else "_judge")
            found.append(Panel(number, name, who, title, shares, labels))
    return sorted(found, key=lambda panel: panel.figure)


def _label(row, right, with_language):
    language = LANGUAGES[row.language]
    ours, theirs = (right[model, row.language] for model in (row.model_a, row.model_b))
    against = f"{row.model_b}, {language} prompts" if with_language else row.model_b
    return f"{against}\n{language} answers: {ours:.0%} against {theirs:.0%}"


def describe_shares(shares, model):
    """What the intervals of `statistics.summarize_verdicts`'s rows allow to say, in a sentence.

    Example: "ours: beats x; not told apart from y, z"
    """
    if (shares.win + shares.loss == 0).all():
        return "no pair was decided"
    one_model = shares.model_b.nunique() == 1
    told = {"beats": [], "loses to": [], "not told apart from": []}
    for row in shares.itertuples():
        place = f" in {LANGUAGES[row.language]}" if one_model and len(shares) > 1 else ""
        verb = "beats" if row.rate_low > 0.5 else "loses to" if row.rate_high < 0.5 else "not told apart from"
        told[verb].append(f"{row.model_b}{place}")
    return f"{model}: " + "; ".join(f"{verb} {', '.join(names)}" for verb, names in told.items() if names)
