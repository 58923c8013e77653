"""Do raters agree: people with each other, judges with people, and a person with themselves?"""

from itertools import combinations

import krippendorff
import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from blossom.preference.verdicts import PAIR, WINNERS

MAJORITY = "people's majority"


def _matrix(verdicts):
    """Pairs x raters, each cell a, b, tie or missing; first looks only.

    The columns are (source, rater). Raises ValueError when a rater judged one pair twice (a judge's two orders: settle).
    """
    first = verdicts[verdicts["look"] == 1]
    twice = first.duplicated(["source", "rater", *PAIR])
    if twice.any():
        row = first[twice].iloc[0]
        raise ValueError(
            f"{row.rater} has two verdicts on {row.model_a} and {row.model_b}, prompt {row.prompt_id} ({row.language}); "
            "verdicts.settle_orders makes one of a judge's two orders"
        )
    return first.set_index([*PAIR, "source", "rater"]).winner.unstack(["source", "rater"])


def compare_raters(verdicts):
    """Every two raters who saw the same pairs, and each judge against what most people said.

    return  one row a pair of raters: rater_1, rater_2, among (people, judges, judge and people), n, same (share of equal
            verdicts), tie_discounted (half a point when one of two said tie: LIMA, arXiv:2305.11206, 4.2), kappa (Cohen's;
            NaN when both gave one and the same verdict throughout)
    """
    cells = _matrix(verdicts)
    people = [c for c in cells if c[0] == "people"]
    judges = [c for c in cells if c[0] != "people"]
    if len(people) > 1 and judges:
        cells[("people", MAJORITY)] = _majority(cells[people])
    against = [(judge, ("people", MAJORITY)) for judge in judges] if len(people) > 1 else []
    rows = []
    for one, other in [*combinations(people + judges, 2), *against]:
        both = cells[[one, other]].dropna()
        if both.empty:
            continue
        x, y = both[one].to_numpy(str), both[other].to_numpy(str)
        among = {0: "people", 1: "judge and people", 2: "judges"}[sum(c[0] != "people" for c in (one, other))]
        half = ((x == "tie") != (y == "tie")).mean() / 2
        kappa = cohen_kappa_score(x, y, labels=WINNERS) if len({*x, *y}) > 1 else np.nan
        rows.append([one[1], other[1], among, len(both), (x == y).mean(), (x == y).mean() + half, kappa])
    return pd.DataFrame(rows, columns=["rater_1", "rater_2", "among", "n", "same", "tie_discounted", "kappa"])


def _majority(cells):
    """What more people said than anything else; tie when no verdict leads. Missing where fewer than two looked."""
    counts = np.stack([(cells == w).sum(axis=1) for w in WINNERS], 1)  # (pairs, 3)
    leads = (counts == counts.max(1, keepdims=True)).sum(1) == 1
    named = np.array(WINNERS, object)[np.where(leads, counts.argmax(1), WINNERS.index("tie"))]
    return pd.Series(named, index=cells.index).where(counts.sum(1) > 1)


def measure_alpha(verdicts, samples=200, level=0.95, seed=0):
    """Krippendorff's alpha (nominal) of all people, of all judges, and of everyone; 1 is agreement, 0 is chance.

    return  one row a group of two raters or more: among, raters, pairs (seen by two or more), alpha with _low and _high.
            The interval is a bootstrap over prompts. NaN when all verdicts are the same.
    """
    cells = _matrix(verdicts)
    people = [c for c in cells if c[0] == "people"]
    groups = {"people": people, "judges": [c for c in cells if c[0] != "people"], "everyone": list(cells)}
    if not people or len(people) == len(groups["everyone"]):
        del groups["everyone"]
    rows = []
    for among, columns in groups.items():
        seen = cells[columns]
        seen = seen[seen.notna().sum(axis=1) > 1]
        if len(columns) < 2 or seen.empty:
            continue
        counts = np.stack([(seen == w).sum(axis=1) for w in WINNERS], 1)  # (pairs, 3)
        prompt, names = pd.factorize(seen.index.get_level_values("prompt_id"))
        members = [np.flatnonzero(prompt == n) for n in range(len(names))]
        rng = np.random.default_rng(seed)
        value, drawn = _alpha(counts), []
        for _ in range(samples if np.isfinite(value) else 0):
            drawn.append(_alpha(counts[np.concatenate([members[n] for n in rng.integers(len(names), size=len(names))])]))
        low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if drawn else (np.nan, np.nan)
        rows.append([among, len(columns), len(seen), value, low, high])
    return pd.DataFrame(rows, columns=["among", "raters", "pairs", "alpha", "alpha_low", "alpha_high"])


def _alpha(counts):
    """Krippendorff's alpha of (pairs, 3) counts; NaN when only one verdict occurs."""
    used = counts[:, counts.any(axis=0)]
    if used.shape[1] < 2:
        return np.nan
    return krippendorff.alpha(value_counts=used, level_of_measurement="nominal")


def measure_consistency(verdicts):
    """What each person said of the pairs shown again with the sides exchanged.

    return  one row a rater: rater, n (pairs seen twice), same (share of equal verdicts), same_side (share where the same
            side won both times, whatever was on it: the place decided)
    """
    keys = ["source", "rater", *PAIR]
    again = verdicts[verdicts["look"] == 2]
    both = verdicts[verdicts["look"] == 1].merge(again, on=keys, suffixes=("", "_again"))
    side = np.where(both.winner == both.first_shown, "first", "second")
    side_again = np.where(both.winner_again == both.first_shown_again, "first", "second")
    decided = (both.winner != "tie") & (both.winner_again != "tie")
    marked = both.assign(same=both.winner == both.winner_again, same_side=decided & (side == side_again))
    marked["same_side"] &= both.first_shown != both.first_shown_again
    grouped = marked.groupby("rater", sort=False)
    return grouped.agg(n=("same", "size"), same=("same", "mean"), same_side=("same_side", "mean")).reset_index()
