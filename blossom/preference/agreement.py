"""Agreement of people with each other, of judges with people, and of a person with themselves."""

from itertools import combinations

import krippendorff
import numpy as np
import pandas as pd

from blossom.preference.statistics import add_intervals, drop_second_looks
from blossom.preference.verdicts import PAIR, WINNERS


def _pivot(verdicts):
    """A table of pairs x (source, rater) with the winner or NaN; then its columns of people and those of judges."""
    cells = drop_second_looks(verdicts).set_index([*PAIR, "source", "rater"]).winner.unstack(["source", "rater"])
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
    second = verdicts[verdicts["look"] == 2]
    both = drop_second_looks(verdicts).merge(second, on=["source", "rater", *PAIR], suffixes=("", "_2"))
    same = (both.winner == both.winner_2).groupby(both.rater, sort=False)
    return same.agg(n="size", same="mean").reset_index()
