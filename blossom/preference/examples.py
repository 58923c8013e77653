"""Answers side by side in a notebook."""

from collections import Counter, defaultdict

import pandas as pd

from blossom.common.pages import show_table
from blossom.preference.statistics import drop_second_looks
from blossom.preference.verdicts import PAIR

LONGEST = 1500  # characters of a text that are shown


def show_pairs(pairs):
    """A table (pandas Styler) of pairs of answers; under each answer its model and who preferred it."""
    rows = []
    for pair in pairs:
        row = {"prompt": _shorten(pair["prompt"], f"{pair['prompt_id']} · {pair['kind']}")}
        for side in "ab":
            raters = pair.get("preferred_by", {}).get(side)
            note = pair[f"model_{side}"] + (f" · preferred by {', '.join(raters)}" if raters else "")
            row[side.upper()] = _shorten(pair[f"answer_{side}"], note)
        rows.append(row)
    table = show_table(pd.DataFrame(rows)).set_table_attributes('style="table-layout: fixed; width: 100%"')
    look = {"white-space": "pre-wrap", "overflow-wrap": "anywhere", "text-align": "left", "vertical-align": "top"}
    return table.set_properties(**look)


def _shorten(text, note):
    cut = f" … ({len(text):,} characters)" if len(text) > LONGEST else ""
    return f"{text[:LONGEST] + cut if text.strip() else '(empty)'}\n\n— {note}"


def choose_examples(verdicts, pairs, each=2):
    """At most `each` pairs that model A won and `each` that it lost, for every two models and language, for `show_pairs`."""
    votes = defaultdict(lambda: defaultdict(list))
    for row in drop_second_looks(verdicts).itertuples():
        votes[tuple(getattr(row, name) for name in PAIR)][row.winner].append(row.rater)
    chosen, taken = {True: [], False: []}, Counter()
    for pair in pairs:
        given = votes[tuple(pair[name] for name in PAIR)]
        lead = len(given["a"]) - len(given["b"])
        group = (pair["model_a"], pair["model_b"], pair["language"], lead > 0)
        if lead and taken[group] < each:
            taken[group] += 1
            chosen[lead > 0].append(pair | {"preferred_by": given})
    return chosen[True] + chosen[False]
