"""The verdict table: one row a verdict, of people and of models alike.

Every function of statistics.py and agreement.py takes a table of this form:

prompt_id, kind, language   the prompt; kind is recommendation, code, factual, ...
model_a, model_b            the two models compared
winner                      a, b or tie ("neither is significantly better")
rater                       who said so: a person's name, or the judge's
first_shown                 a or b: whose answer was on the left, or came first in the judge's prompt
source                      "people", or the name of the judging model           (default people)
look                        1, or 2 for a pair shown again to the same person    (default 1)
length_a, length_b          characters of the two answers                        (default missing)
"""

import numpy as np
import pandas as pd

PROMPT = ["prompt_id", "language"]
PAIR = [*PROMPT, "model_a", "model_b"]
REQUIRED = ["prompt_id", "kind", "language", "model_a", "model_b", "winner", "rater", "first_shown"]
DEFAULTS = {"source": "people", "look": 1, "length_a": np.nan, "length_b": np.nan}
WINNERS = ("a", "tie", "b")
OTHER = {"a": "b", "b": "a", "tie": "tie"}


def make_verdicts(rows):
    """The verdict table of `rows` (DataFrame or list of dicts), checked, with the optional columns filled in.

    Two models are always compared the same way round: as their first row has them. Further columns are kept.
    Raises ValueError naming the column, the row and the value that is wrong.
    Example: rows (x, y, a) and (y, x, a) -> (x, y, a) and (x, y, b)
    """
    found = pd.DataFrame(rows).reset_index(drop=True)
    if found.empty:
        return pd.DataFrame(columns=[*REQUIRED, *DEFAULTS])
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise ValueError(f"verdicts: no column {', '.join(missing)}; found {', '.join(map(str, found.columns))}")
    for name, value in DEFAULTS.items():
        found[name] = found[name].fillna(value) if name in found else value
    _check(found, "winner", found.winner.isin(WINNERS), "a, b or tie")
    _check(found, "first_shown", found.first_shown.isin(("a", "b")), "a or b")
    _check(found, "look", found.look.isin((1, 2)), "1 or 2")
    _check(found, "model_b", found.model_a != found.model_b, "another model than model_a")
    for name in REQUIRED:
        _check(found, name, found[name].notna(), "a value")
    return _one_way_round(found)


def _check(found, column, good, expected):
    if not good.all():
        row = int((~good).to_numpy().argmax())
        raise ValueError(f"verdicts, row {row}: {column}: expected {expected}, found {found[column][row]!r}")


def _one_way_round(found):
    """The table with every two models in the order of the first row that compares them."""
    given = list(zip(found.model_a, found.model_b, strict=True))
    first = {}
    for a, b in dict.fromkeys(given):
        first.setdefault(frozenset((a, b)), (a, b))
    return _turned(found, np.array([first[frozenset(pair)] != pair for pair in given]))


def _turned(found, where):
    """The table with A and B exchanged in the rows where `where` (bool array) is true."""
    turned = found.copy()
    for left, right in (("model_a", "model_b"), ("length_a", "length_b")):
        turned[left], turned[right] = found[left].mask(where, found[right]), found[right].mask(where, found[left])
    for name in ("winner", "first_shown"):
        turned[name] = found[name].mask(where, found[name].map(OTHER))
    return turned


def turn_verdicts(verdicts, model):
    """The verdicts on `model`, turned so that it is model_a; ValueError when there are none."""
    own = verdicts[(verdicts.model_a == model) | (verdicts.model_b == model)]
    if own.empty:
        known = sorted(set(verdicts.model_a) | set(verdicts.model_b))
        raise ValueError(f"no verdict on model {model!r}; there are: {', '.join(known)}")
    return _turned(own, (own.model_b == model).to_numpy())


def with_lengths(verdicts, answers):
    """The verdicts with length_a and length_b, in characters.

    answers  DataFrame or list of dicts: model, prompt_id, language, answer. Raises ValueError for an answer not there.
    """
    listed = pd.DataFrame(answers)
    keys = zip(listed.model, listed.prompt_id, listed.language, strict=True)
    characters = dict(zip(keys, listed.answer.str.len(), strict=True))
    filled = verdicts.copy()
    for side in "ab":
        wanted = list(zip(filled[f"model_{side}"], filled.prompt_id, filled.language, strict=True))
        absent = next((key for key in wanted if key not in characters), None)
        if absent:
            raise ValueError(f"verdicts: no answer of {absent[0]} to prompt {absent[1]} ({absent[2]})")
        filled[f"length_{side}"] = [characters[key] for key in wanted]
    return filled


def settle_orders(verdicts):
    """Verdicts given in both orders of the answers as one each: decided only where both orders agree, else a tie.

    The result has one row a rater and pair, and a column `flipped`: the two orders named different winners.
    A pair that was seen in one order only is left out. Source: Zheng et al., 2023 (arXiv:2306.05685), section 3.4.
    """
    keys = ["source", "rater", *PAIR]
    by_order = (
        verdicts.drop_duplicates([*keys, "first_shown"]).set_index([*keys, "first_shown"]).winner.unstack("first_shown")
    )
    both = by_order.reindex(columns=["a", "b"]).dropna()
    both = both.assign(winner=both.a.where(both.a == both.b, "tie"), flipped=both.a != both.b).drop(columns=["a", "b"])
    first = verdicts.drop_duplicates(keys).drop(columns=["winner"])
    return first.merge(both.reset_index(), on=keys)


def settle_verdicts(verdicts):
    """One verdict a rater and pair: people's rows as they are, a judge's two orders settled (unless they are already)."""
    open_rows = verdicts.source != "people"
    if "flipped" in verdicts:
        open_rows &= verdicts.flipped.isna()
    if not open_rows.any():
        return verdicts
    return pd.concat([verdicts[~open_rows], settle_orders(verdicts[open_rows])], ignore_index=True)
