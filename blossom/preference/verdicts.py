"""The verdict table that statistics.py and agreement.py take: one row a verdict, of people and of judging models alike.

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
OTHER = {"a": "b", "b": "a", "tie": "tie"}


def make_verdicts(rows):
    """The checked verdict table of `rows` (DataFrame or list of dicts), with defaults filled in; other columns are kept.

    Every two models are put in the order of the first row that compares them, and its winner is turned with them.
    Raises ValueError naming the column, the row and the wrong value.
    Example: rows (x, y, a) and (y, x, a) -> (x, y, a) and (x, y, b)
    """
    table = pd.DataFrame(rows).reset_index(drop=True)
    if table.empty:
        return pd.DataFrame(columns=[*REQUIRED, *DEFAULTS])
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        raise ValueError(f"verdicts: no column {', '.join(missing)}; found {', '.join(map(str, table.columns))}")
    for name, value in DEFAULTS.items():
        table[name] = table[name].fillna(value) if name in table else value
    checks = {name: (table[name].notna(), "a value") for name in REQUIRED}
    checks |= {"winner": (table.winner.isin(WINNERS), "a, b or tie"), "look": (table["look"].isin((1, 2)), "1 or 2")}
    checks |= {"first_shown": (table.first_shown.isin(("a", "b")), "a or b")}
    checks |= {"model_b": (table.model_b.notna() & (table.model_a != table.model_b), "another model than model_a")}
    for name, (good, expected) in checks.items():
        if not good.all():
            row = good.idxmin()
            raise ValueError(f"verdicts, row {row}: {name}: expected {expected}, found {table[name][row]!r}")
    order = {}
    for pair in zip(table.model_a, table.model_b, strict=True):
        order.setdefault(frozenset(pair), pair[0])
    first = [order[frozenset(pair)] for pair in zip(table.model_a, table.model_b, strict=True)]
    return _swap_models(table, table.model_a != first)


def _swap_models(table, where):
    """The table with models A and B exchanged in the rows where the bool Series `where` is true."""
    swapped = {"model_a": table.model_b, "model_b": table.model_a}
    swapped |= {name: table[name].map(OTHER) for name in ("winner", "first_shown")}
    return table.assign(**{name: table[name].mask(where, values) for name, values in swapped.items()})


def turn_verdicts(verdicts, model):
    """The verdicts on `model`, turned so that it is model_a everywhere; ValueError when there are none."""
    own = verdicts[(verdicts.model_a == model) | (verdicts.model_b == model)]
    if own.empty:
        known = sorted({*verdicts.model_a, *verdicts.model_b})
        raise ValueError(f"no verdict on model {model!r}; there are: {', '.join(known)}")
    return _swap_models(own, own.model_b == model)


def settle_verdicts(verdicts):
    """One verdict a rater and pair: people's rows as they are, a judge's verdicts on both orders of a pair as one.

    A judge decides a pair only when both orders name one winner. Otherwise it is a tie, and the new column `flipped` is
    True. A pair that was judged in one order only is dropped. Rows settled before are left as they are.
    Source: Zheng et al., 2023 (arXiv:2306.05685), section 3.4.
    """
    verdicts = verdicts if "flipped" in verdicts else verdicts.assign(flipped=None)
    open_rows = (verdicts.source != "people") & verdicts.flipped.isna()
    keys = ["source", "rater", *PAIR]
    judged = verdicts[open_rows].drop_duplicates([*keys, "first_shown"])
    winners = judged.groupby(keys).winner
    flipped = winners.transform("nunique") > 1
    judged = judged.assign(flipped=flipped.astype(object), winner=judged.winner.mask(flipped, "tie"))
    both = judged[winners.transform("size") == 2].drop_duplicates(keys)
    tables = [table for table in (verdicts[~open_rows], both) if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else verdicts.iloc[:0]
