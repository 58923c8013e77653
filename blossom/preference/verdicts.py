"""The table of verdicts of people and judging models, one row a verdict; what they add up to, and who agrees with whom.

prompt_id, kind, language, model_a, model_b
winner                      a, b or tie ("neither is significantly better")
rater, first_shown          whose verdict it is; a or b, whose answer was on the left, or first in the judge's prompt
source, look                "people" (default) or the judging model; 1 (default), or 2 for a pair shown again to a person

Intervals are Bayesian bootstraps over prompts (Rubin, Annals of Statistics 9, 1981): each sample weights the prompts by
exponential random numbers, and all verdicts on a prompt stay together. Half a prompt of each outcome is added (Jeffreys'
prior), so that a model that won every prompt has an interval too.
"""

from collections import namedtuple
from itertools import combinations

import krippendorff
import numpy as np
import pandas as pd

from blossom.preference.prompts import LANGUAGES

PAIR = ["prompt_id", "language", "model_a", "model_b"]
REQUIRED = ["prompt_id", "kind", "language", "model_a", "model_b", "winner", "rater", "first_shown"]
DEFAULTS = {"source": "people", "look": 1}
WINNERS = ("a", "tie", "b")
ALLOWED = {"winner": WINNERS, "first_shown": ("a", "b"), "look": (1, 2)}
UNSEEN = 0.5  # prompts added for each outcome
SAMPLES = 2000
# one figure: its number in the paper, file name, title, rows of `summarize_verdicts`, and their labels
Panel = namedtuple("Panel", "figure name title shares labels")


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
    different, people = verdicts.groupby(keys)[["winner", "first_shown"]].transform("nunique"), verdicts.source == "people"
    flipped = ~people & (different.winner > 1)
    settled = verdicts.assign(flipped=flipped, winner=verdicts.winner.mask(flipped, "tie"))
    return settled[people | (different.first_shown == 2)].drop_duplicates(keys, ignore_index=True)


def summarize_verdicts(verdicts, by=("source", "language", "model_a", "model_b"), samples=SAMPLES, seed=0):
    """Shares of the verdicts that model A won, tied and lost, with 95 % intervals: DataFrame, one row a group.

    verdicts  settled; those on pairs shown a second time are not counted; faulty: whether rules find a fault in A's answer
    by        columns that make a group; add "kind" for the kinds of prompt
    return    `by`, prompts, verdicts, raters, flipped (share where a judge's two orders disagreed, a part of tie);
              won_faulty: the wins of faulty answers; win, tie, loss and rate (win + tie/2), each with _low and _high
    """
    rng, rows = np.random.default_rng(seed), []
    for key, group in verdicts.query("look == 1").groupby(list(by), sort=False):
        counts = _count_winners(group, group.winner)
        row = dict(zip(by, key, strict=True)) | {"prompts": len(counts), "verdicts": len(group)}
        row |= {"raters": group.rater.nunique(), "flipped": group.flipped.eq(True).mean() if "flipped" in group else 0.0}
        row |= {"won_faulty": int(group.faulty[group.winner == "a"].sum())} if "faulty" in group else {}
        shares, drawn = _shares(counts.sum(0)), _shares(_bootstrap(counts, samples, rng))
        rows.append(row | add_intervals(("win", "tie", "loss", "rate"), shares, drawn))
    return pd.DataFrame(rows)


def _count_winners(verdicts, winner):
    """(prompts, 3) counts of a, tie and b in `winner`, which has one value for each row of `verdicts`."""
    one_hot = pd.get_dummies(pd.Categorical(winner, WINNERS), dtype=float)
    return one_hot.groupby(verdicts.prompt_id.to_numpy(), sort=False).sum().to_numpy()


def _bootstrap(counts, samples, rng):
    """(samples, 3) counts from (prompts, 3) counts, every prompt weighted at random."""
    weights = rng.standard_exponential((samples, len(counts)))
    return weights @ counts + rng.standard_gamma(UNSEEN, (samples, 3)) * counts.sum() / len(counts)


def _shares(counts):
    """(..., 4) shares of win, tie and loss, and the rate win + tie/2, from (..., 3) counts."""
    shares = counts / counts.sum(-1, keepdims=True)
    return np.concatenate([shares, shares[..., :1] + shares[..., 1:2] / 2], -1)


def add_intervals(names, values, drawn):
    """{name, name_low, name_high} of K names: `values` (K,), and the 95 % intervals of `drawn` (samples, K) around them."""
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    columns = {"": values, "_low": np.fmin(low, values), "_high": np.fmax(high, values)}
    return {f"{name}{end}": float(column[k]) for k, name in enumerate(names) for end, column in columns.items()}


def measure_position_bias(verdicts, samples=SAMPLES, seed=0):
    """How often each rater preferred the answer shown first, in verdicts before settling and without ties; 0.5: no bias."""
    rng, rows = np.random.default_rng(seed), []
    for (source, rater), group in verdicts.groupby(["source", "rater"], sort=False):
        place = np.where(group.winner == "tie", "tie", np.where(group.winner == group.first_shown, "a", "b"))
        counts = _count_winners(group, place)
        decided, drawn = counts[:, [0, 2]].sum(), _bootstrap(counts, samples, rng)
        share = counts[:, 0].sum() / decided if decided else np.nan
        row = {"source": source, "rater": rater, "prompts": len(counts), "verdicts": len(group), "decided": int(decided)}
        rows.append(row | add_intervals(["first"], [share], drawn[:, :1] / (drawn[:, :1] + drawn[:, 2:])))
    return pd.DataFrame(rows)


def count_won_both(verdicts, model):
    """On how many of n prompts `model`, as model A, beat all other models, and on how many it lost to all (B, 6.1)."""
    own = verdicts.query("look == 1")
    own = own[own.model_a == model].assign(balance=own.winner.map({"a": 1, "tie": 0, "b": -1}))
    balance = own.pivot_table("balance", ["source", "language", "prompt_id"], "model_b", "sum", sort=False).dropna()
    found = pd.DataFrame({"n": 1, "won_both": (balance > 0).all(axis=1), "lost_both": (balance < 0).all(axis=1)})
    return found.astype(int).groupby(["source", "language"], sort=False).sum().reset_index()


def _pivot(verdicts):
    """A table of pairs x (source, rater) with the winner or NaN; then its columns of people and those of judges."""
    cells = verdicts.query("look == 1").set_index([*PAIR, "source", "rater"]).winner.unstack(["source", "rater"])
    return cells, [c for c in cells if c[0] == "people"], [c for c in cells if c[0] != "people"]


def compare_raters(verdicts):
    """Agreement of every two raters on the n pairs that both saw: a DataFrame with the share of same verdicts.

    tie_discounted adds half a point where only one of the two said tie (LIMA, arXiv:2305.11206, section 4.2).
    """
    cells, people, judges = _pivot(verdicts)
    rows = []
    for one, other in combinations(people + judges, 2):
        x, y = cells[[one, other]].dropna().to_numpy(str).T
        if len(x):
            among = ("people", "judge and people", "judges")[(one in judges) + (other in judges)]
            same, half = (x == y).mean(), ((x == "tie") != (y == "tie")).mean() / 2
            rows.append([one[1], other[1], among, len(x), same, same + half])
    return pd.DataFrame(rows, columns=["rater_1", "rater_2", "among", "n", "same", "tie_discounted"])


def measure_alpha(verdicts, samples=200, seed=0):
    """Krippendorff's nominal alpha (1: all agree, 0: chance) of people, judges and everyone, with bootstrap intervals."""
    cells, people, judges = _pivot(verdicts)
    groups = {"people": people, "judges": judges} | ({"everyone": people + judges} if people and judges else {})
    rng, rows = np.random.default_rng(seed), []
    for among, raters in groups.items():
        counts = np.stack([(cells[raters] == w).sum(axis=1) for w in WINNERS], 1)  # (pairs, 3)
        seen = counts.sum(1) > 1
        if seen.any():
            counts, (prompt, names) = counts[seen], pd.factorize(cells.index.get_level_values("prompt_id")[seen])
            times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), samples)[:, prompt]  # (samples, pairs)
            drawn = np.array([_alpha(np.repeat(counts, one, axis=0)) for one in times])
            drawn = drawn[np.isfinite(drawn)] if np.isfinite(drawn).any() else drawn
            row = {"among": among, "raters": len(raters), "pairs": len(counts)}
            rows.append(row | add_intervals(["alpha"], [_alpha(counts)], drawn[:, None]))
    return pd.DataFrame(rows)


def _alpha(counts):
    used = counts[:, counts.any(axis=0)]
    return krippendorff.alpha(value_counts=used, level_of_measurement="nominal") if used.shape[1] > 1 else np.nan


def compare_looks(verdicts):
    """How often each person gave the same verdict on a pair shown twice: DataFrame with rater, n (pairs), same (share)."""
    both = verdicts.query("look == 1").merge(verdicts.query("look == 2"), on=["source", "rater", *PAIR], suffixes=("", "_2"))
    same = (both.winner == both.winner_2).groupby(both.rater, sort=False)
    return same.agg(n="size", same="mean").reset_index()


def make_panels(verdicts, model, measured, seed=0):
    """Make a Panel for every figure that the settled verdicts on `model` have data for.

    measured  table of `measure_answers`, for the labels
    """
    right = measured.set_index(["model", "language"]).answered_in_language
    korean_only, panels = model.replace("biSFT", "koSFT") if model.endswith("biSFT") else None, []
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
    told = f"{language} answers: {ours:.0%} against {theirs:.0%}\n{state_faults(row._asdict())}"
    return f"{result} {row.model_b}, {language} prompts\n{told}"


def state_faults(row):
    """Words on a row (dict) of `summarize_verdicts`, to stand beside its win rate."""
    won, faulty = round(row["win"] * row["verdicts"]), row.get("won_faulty", "an unknown number")
    return f"rules find a fault in {faulty} of the {won} answers that won"
