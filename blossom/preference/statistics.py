"""Win, tie and loss with intervals, strengths of all models, position bias.

The prompts are a sample, so every interval is a bootstrap over prompts; all verdicts on a prompt stay together. It is the
Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981): instead of drawing prompts again, each gets a random weight from an
exponential distribution. Half a prompt of each outcome is added (Jeffreys' prior), or the interval of a model that won every
prompt would have no width. With 24 to 300 prompts, about 95 % of the 95 % intervals of simulations hold the truth.
"""

import choix
import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components

from blossom.preference.verdicts import WINNERS, turn_verdicts

GROUP = ("source", "language", "model_a", "model_b")
UNSEEN = 0.5  # prompts of each outcome that are added
SAMPLES = 2000


def summarize_verdicts(verdicts, by=GROUP, samples=SAMPLES, seed=0):
    """Shares of the verdicts that model A won, tied and lost against model B, with 95 % intervals.

    verdicts  table of `make_verdicts`, settled; second looks are not counted
    by        columns that make a group; add "kind" for the kinds of prompt
    return    one row a group: `by`, prompts, verdicts, raters, flipped (the share where a judge's two orders disagreed, a
              part of tie), then win, tie, loss and rate (win + tie/2), each with _low and _high
    """
    rng, rows = np.random.default_rng(seed), []
    for key, group in first_looks(verdicts).groupby(list(by), sort=False):
        counts = _count_winners(group, group.winner)
        row = dict(zip(by, key, strict=True)) | {"prompts": len(counts), "verdicts": len(group)}
        row |= {"raters": group.rater.nunique(), "flipped": group.flipped.eq(True).mean() if "flipped" in group else 0.0}
        shares, drawn = _shares(counts.sum(0)), _shares(_bootstrap(counts, samples, rng))
        rows.append(row | add_intervals(("win", "tie", "loss", "rate"), shares, drawn))
    return pd.DataFrame(rows)


def first_looks(verdicts):
    """The table without second looks: those measure the rater, not the models."""
    return verdicts[verdicts["look"] == 1]


def _count_winners(verdicts, winner):
    """(prompts, 3) counts of a, tie and b in `winner`, which has a value a row of `verdicts`."""
    prompt, names = pd.factorize(verdicts.prompt_id)
    counts = np.zeros((len(names), 3))
    np.add.at(counts, (prompt, pd.Categorical(winner, WINNERS).codes), 1)
    return counts


def _bootstrap(counts, samples, rng):
    """(samples, 3) counts from (prompts, 3) counts, every prompt weighted at random."""
    weights = rng.standard_exponential((samples, len(counts)))
    return weights @ counts + rng.standard_gamma(UNSEEN, (samples, 3)) * counts.sum() / len(counts)


def _shares(counts):
    """(..., 4) shares of win, tie and loss, and the rate win + tie/2, from (..., 3) counts."""
    shares = counts / counts.sum(-1, keepdims=True)
    return np.concatenate([shares, shares[..., :1] + shares[..., 1:2] / 2], -1)


def add_intervals(names, values, drawn, level=0.95):
    """{name, name_low, name_high} of each name: the value and the middle `level` of its samples, widened to hold the value.

    values  (K,);  drawn  (samples, K)
    """
    ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    low, high = np.fmin(ends[0], values), np.fmax(ends[1], values)
    columns = zip(names, values, low, high, strict=True)
    return {
        f"{name}{end}": float(x) for name, *found in columns for end, x in zip(("", "_low", "_high"), found, strict=True)
    }


def rank_models(verdicts, samples=200, seed=0):
    """Bradley-Terry strengths of all models from all comparisons, by choix; a tie is half a win for each side.

    return  one row a model, strongest first: model, strength with _low and _high, verdicts. Strengths are log-odds with
            mean 0: a model beats one that is weaker by d with odds exp(d).
    Raises ValueError when the comparisons do not connect all models.
    """
    verdicts = first_looks(verdicts)
    code, models = pd.factorize(pd.concat([verdicts.model_a, verdicts.model_b]))
    (a, b), (prompt, prompts) = np.split(code, 2), pd.factorize(verdicts.prompt_id)
    wins = np.zeros((len(prompts), len(models), len(models)))  # of the row's model over the column's
    score = verdicts.winner.map({"a": 1.0, "tie": 0.5, "b": 0.0}).to_numpy()
    np.add.at(wins, (prompt, a, b), score)
    np.add.at(wins, (prompt, b, a), 1 - score)
    compared = (wins.sum(0) + wins.sum(0).T) > 0
    parts, part = connected_components(compared)
    if parts > 1:
        apart = [", ".join(models[part == n]) for n in range(parts)]
        raise ValueError(f"these models were never compared, not even through others: {' | '.join(apart)}")
    rng, prior = np.random.default_rng(seed), 1.5 * UNSEEN  # of the three outcomes, a tie counting half for each
    best = choix.ilsr_pairwise_dense(wins.sum(0) + prior * compared)
    sampled = np.tensordot(rng.standard_exponential((samples, len(wins))), wins, 1)
    sampled += rng.standard_gamma(prior, sampled.shape) * compared
    drawn = np.array([choix.ilsr_pairwise_dense(one, initial_params=best, tol=1e-4) for one in sampled])
    played = wins.sum((0, 1)) + wins.sum((0, 2))
    rows = [
        {"model": models[n]} | add_intervals(["strength"], best[[n]], drawn[:, [n]]) | {"verdicts": round(played[n])}
        for n in np.argsort(-best)
    ]
    return pd.DataFrame(rows)


def measure_position_bias(verdicts, by=("source", "rater"), samples=SAMPLES, seed=0):
    """How often the answer shown first won, among the verdicts that were no tie; 0.5 means no bias. Judges not settled.

    return  one row a group: `by`, prompts, verdicts, decided, first with _low and _high (of the decided; NaN when none)
    """
    rng, rows = np.random.default_rng(seed), []
    for key, group in verdicts.groupby(list(by), sort=False):
        place = np.where(group.winner == "tie", "tie", np.where(group.winner == group.first_shown, "a", "b"))
        counts = _count_winners(group, place)
        won, _, lost = counts.sum(0)
        drawn = _bootstrap(counts, samples, rng)
        row = dict(zip(by, key, strict=True)) | {"prompts": len(counts), "verdicts": len(group), "decided": int(won + lost)}
        share = won / (won + lost) if won + lost else np.nan
        rows.append(row | add_intervals(["first"], [share], drawn[:, :1] / (drawn[:, :1] + drawn[:, 2:])))
    return pd.DataFrame(rows)


def count_won_both(verdicts, model):
    """On how many prompts `model` beat all other models, and on how many it lost to all (B, 6.1: 124 and 40 of 300).

    return  one row a source and language: n (prompts with verdicts on all models), won_both, lost_both. Of several verdicts
            on a prompt the majority counts.
    """
    own = turn_verdicts(first_looks(verdicts), model)
    balance = own.assign(balance=own.winner.map({"a": 1, "tie": 0, "b": -1}))
    balance = balance.pivot_table("balance", ["source", "language", "prompt_id"], "model_b", "sum", sort=False).dropna()
    found = pd.DataFrame({"n": 1, "won_both": (balance > 0).all(axis=1), "lost_both": (balance < 0).all(axis=1)})
    return found.astype(int).groupby(["source", "language"], sort=False).sum().reset_index()
