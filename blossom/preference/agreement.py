"""Agreement of people with each other, of judges with people, and of a person with themselves."""

from itertools import combinations

import krippendorff
import numpy as np
import pandas as pd

from blossom.preference.statistics import add_intervals, first_looks
from blossom.preference.verdicts import PAIR, WINNERS


def _pivot(verdicts):
    """Pairs x (source, rater), each cell a, tie, b or missing, and the columns of people and of judges; first looks only."""
    first = first_looks(verdicts)
    twice = first.duplicated(["source", "rater", *PAIR])
    if twice.any():
        row = first[twice].iloc[0]
        raise ValueError(
            f"{row.rater} has two verdicts on {row.model_a} and {row.model_b}, prompt {row.prompt_id} ({row.language}); "
            "settle_verdicts makes one of a judge's two orders"
        )
    cells = first.set_index([*PAIR, "source", "rater"]).winner.unstack(["source", "rater"])
    return cells, [c for c in cells if c[0] == "people"], [c for c in cells if c[0] != "people"]


def compare_raters(verdicts):
    """Agreement of every two raters, people and judges, on the pairs that both saw.

    return  one row a pair of raters: rater_1, rater_2, among (people, judges, judge and people), n, same (share of equal
            verdicts), tie_discounted (half a point where one of the two said tie: LIMA, arXiv:2305.11206, section 4.2)
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
    """Krippendorff's alpha (nominal) of all people, of all judges and of everyone: 1 is full agreement, 0 is chance.

    return  one row a group of two raters or more: among, raters, pairs (seen by two or more), alpha with _low and _high
            (95 %, bootstrap over prompts). NaN when all verdicts are the same.
    """
    cells, people, judges = _pivot(verdicts)
    groups = {"people": people, "judges": judges} | ({"everyone": people + judges} if people and judges else {})
    rng, rows = np.random.default_rng(seed), []
    for among, raters in groups.items():
        counts = np.stack([(cells[raters] == w).sum(axis=1) for w in WINNERS], 1)  # (pairs, 3)
        seen = counts.sum(1) > 1
        if not seen.any():
            continue
        counts, prompts = counts[seen], cells.index.get_level_values("prompt_id")[seen]
        value, drawn = _alpha(counts), []
        members = list(pd.Series(range(len(counts))).groupby(prompts).indices.values())
        for _ in range(samples):
            chosen = rng.integers(len(members), size=len(members))
            drawn.append(_alpha(counts[np.concatenate([members[n] for n in chosen])]))
        drawn = np.array([one for one in drawn if np.isfinite(one)] or [value])[:, None]
        row = {"among": among, "raters": len(raters), "pairs": len(counts)}
        rows.append(row | add_intervals(["alpha"], [value], drawn))
    return pd.DataFrame(rows)


def _alpha(counts):
    used = counts[:, counts.any(axis=0)]
    return krippendorff.alpha(value_counts=used, level_of_measurement="nominal") if used.shape[1] > 1 else np.nan


def compare_looks(verdicts):
    """What each person said of the pairs that were shown twice, with the sides exchanged.

    return  one row a rater: rater, n (pairs seen twice), same (share of equal verdicts), same_side (share where the same
            side won both times, so that the position decided)
    """
    keys = ["source", "rater", *PAIR]
    both = first_looks(verdicts).merge(verdicts[verdicts["look"] == 2], on=keys, suffixes=("", "_2"))
    left, left_2 = both.winner == both.first_shown, both.winner_2 == both.first_shown_2
    decided = (both.winner != "tie") & (both.winner_2 != "tie") & (both.first_shown != both.first_shown_2)
    both = both.assign(same=both.winner == both.winner_2, same_side=decided & (left == left_2))
    return (
        both.groupby("rater", sort=False)
        .agg(n=("same", "size"), same=("same", "mean"), same_side=("same_side", "mean"))
        .reset_index()
    )
