"""The table of verdicts of people and judging models, one row a verdict.

prompt_id, kind, language   the prompt; kind is recommendation, code, factual, ...
model_a, model_b            the two models compared
winner                      a, b or tie ("neither is significantly better")
rater                       who gave the verdict: a person's name, or the judging model's
first_shown                 a or b: whose answer was on the left, or first in the judge's prompt
source                      "people", or the name of the judging model           (default people)
look                        1, or 2 for a pair shown again to the same person    (default 1)
"""

import pandas as pd

PAIR = ["prompt_id", "language", "model_a", "model_b"]
REQUIRED = ["prompt_id", "kind", "language", "model_a", "model_b", "winner", "rater", "first_shown"]
DEFAULTS = {"source": "people", "look": 1}
WINNERS = ("a", "tie", "b")
ALLOWED = {"winner": WINNERS, "first_shown": ("a", "b"), "look": (1, 2)}


def make_verdicts(rows):
    """Check `rows` (DataFrame or list of dicts) and return them as a verdict table (DataFrame); other columns are kept."""
    table = pd.DataFrame(rows).reset_index(drop=True)
    if table.empty:
        return pd.DataFrame(columns=[*REQUIRED, *DEFAULTS])
    for name in [*REQUIRED, *DEFAULTS]:
        table[name] = table.get(name, DEFAULTS.get(name))
        good = table[name].isin(ALLOWED[name]) if name in ALLOWED else table[name].notna()
        if not good.all():
            row, expected = good.idxmin(), " or ".join(map(str, ALLOWED.get(name, ["a value"])))
            raise ValueError(f"verdicts, row {row}: {name}: expected {expected}, found {table[name][row]}")
    return table


def settle_verdicts(verdicts):
    """Reduce a judge's two verdicts on a pair (one an order) to one; people's rows stay as they are.

    When the two orders disagree the verdict is a tie, and the new column `flipped` is True. A pair judged in one order only
    is dropped. Source: Zheng et al., 2023 (arXiv:2306.05685), section 3.4.
    """
    keys = ["source", "rater", *PAIR, "look"]
    winners, people = verdicts.groupby(keys).winner, verdicts.source == "people"
    flipped = ~people & (winners.transform("nunique") > 1)
    settled = verdicts.assign(flipped=flipped, winner=verdicts.winner.mask(flipped, "tie"))
    return settled[people | (winners.transform("size") == 2)].drop_duplicates(keys, ignore_index=True)
