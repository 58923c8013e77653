"""What the verdicts add up to: win, tie and loss with intervals, strengths of all models, length and position.

Every interval is a bootstrap over prompts, since the prompts are what a run draws from many: a prompt's verdicts, of
however many people, stay together. It is Rubin's Bayesian bootstrap (Annals of Statistics 9, 1981): prompts get random
weights from a Dirichlet distribution instead of being drawn again, and prompts with the same verdicts share one gamma
variate. Half a prompt of each outcome is added (Jeffreys' prior), or the interval of a model that won every prompt
would have no width. With 24 to 300 prompts these 95 % intervals cover the truth in about 95 % of simulated runs.
"""

import choix
import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components

from blossom.preference import agreement
from blossom.preference.verdicts import WINNERS, settle_verdicts, turn_verdicts

GROUP = ("source", "language", "model_a", "model_b")
UNSEEN = 0.5  # prompts of each outcome that are added before weights are drawn
SAMPLES = 2000


def summarize_verdicts(verdicts, by=GROUP, samples=SAMPLES, level=0.95, seed=0):
    """Win, tie and loss of model A against model B, each a share of the verdicts with its interval.

    verdicts  table of `verdicts.make_verdicts`; pairs shown again (look 2) are not counted
    by        columns that make a group; add "kind" for the kinds of prompt
    return    one row a group: prompts, verdicts, raters, flipped (the part of tie where a judge's two orders disagreed),
              then win, tie, loss and rate (win + tie/2), each with _low, _high
    """
    first = first_looks(verdicts)
    keys, counted = _count_verdicts(first, by)
    keys["prompts"] = [len(counts) for counts in counted]
    keys["verdicts"] = [int(counts.sum()) for counts in counted]
    grouped = first.assign(turned=first["flipped"].eq(True) if "flipped" in first else False).groupby(list(by), sort=False)
    keys["raters"] = grouped.rater.nunique().to_numpy()
    keys["flipped"] = grouped.turned.mean().to_numpy(float)
    rng, rows = np.random.default_rng(seed), []
    for counts in counted:
        estimate, drawn = _shares(counts.sum(0)), _shares(_draw_samples(counts, samples, rng))
        rows.append(_add_intervals(("win", "tie", "loss", "rate"), estimate, drawn, level))
    return keys.join(pd.DataFrame(rows))


def first_looks(verdicts):
    """The table without the second looks, which measure the rater and not the models."""
    return verdicts[verdicts["look"] == 1]


def _count_verdicts(verdicts, by, winner=None):
    """The groups, as a DataFrame of `by`, and for each a (prompts, 3) array: verdicts a, tie and b on every prompt.

    winner  replaces the column of that name
    """
    group = verdicts.groupby(list(by), sort=False).ngroup().to_numpy()  # numbered as they first appear
    prompt, names = pd.factorize(verdicts.prompt_id)
    cell, cells = pd.factorize(group * len(names) + prompt)  # a prompt within a group
    which = pd.Categorical(verdicts.winner if winner is None else winner, categories=WINNERS).codes
    counts = np.bincount(cell * 3 + which, minlength=3 * len(cells)).reshape(-1, 3)
    order = np.argsort(cells // len(names), kind="stable")
    ends = np.cumsum(np.bincount(cells // len(names)))
    keys = verdicts[list(by)].drop_duplicates().reset_index(drop=True)
    return keys, np.split(counts[order], ends[:-1])


def _draw_samples(counts, samples, rng):
    """(samples, 3) weighted outcomes, one bootstrap sample a row, from (prompts, 3) counts."""
    unseen = np.eye(3) * counts.sum() / len(counts)
    patterns, which = np.unique(np.concatenate([counts, unseen]), axis=0, return_inverse=True)
    prompts = np.bincount(which, np.append(np.ones(len(counts)), [UNSEEN] * 3))
    return rng.standard_gamma(prompts, (samples, len(patterns))) @ patterns


def _shares(counts):
    """(..., 4) shares of win, tie and loss, and the rate, from (..., 3) counts."""
    shares = counts / counts.sum(-1, keepdims=True)
    return np.concatenate([shares, shares[..., :1] + shares[..., 1:2] / 2], -1)


def _add_intervals(names, values, drawn, level=0.95):
    """{name, name_low, name_high} of every name: the middle `level` of the samples, stretched to hold the value itself.

    values (K,), drawn (samples, K) for K names
    """
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    row = {}
    for name, value, least, most in zip(names, values, np.fmin(low, values), np.fmax(high, values), strict=True):
        row |= {name: float(value), f"{name}_low": float(least), f"{name}_high": float(most)}
    return row


def rank_models(verdicts, samples=500, level=0.95, seed=0):
    """Bradley-Terry strengths of all models from all comparisons; a tie is half a win for each.

    return  one row a model, strongest first: model, strength, strength_low, strength_high, prompts, verdicts.
            Strengths are log-odds with mean 0: a model beats one that is d weaker with odds exp(d).

    Half a prompt of each outcome a compared pair keeps a model that won everything finite.
    Raises ValueError when the comparisons do not join all models. Source: choix's iterative Luce spectral ranking.
    """
    listed = first_looks(verdicts)
    models, wins, compared = _win_matrices(listed)
    parts, part = connected_components(compared)
    if parts > 1:
        apart = [", ".join(models[part == n]) for n in range(parts)]
        raise ValueError(f"these models were never compared, not even through others: {' | '.join(apart)}")
    rng = np.random.default_rng(seed)
    weights = rng.standard_exponential((samples, len(wins)))
    sampled = (weights @ wins.reshape(len(wins), -1)).reshape(samples, len(models), len(models))
    win, tie, loss = rng.standard_gamma(UNSEEN, (3, samples, *compared.shape))
    upper = np.triu(compared)
    sampled += upper * (win + tie / 2) + np.swapaxes(upper * (loss + tie / 2), 1, 2)
    best = choix.ilsr_pairwise_dense(wins.sum(0) + 1.5 * UNSEEN * compared)
    drawn = np.array([choix.ilsr_pairwise_dense(m, initial_params=best, max_iter=1000, tol=1e-4) for m in sampled])
    rows = []
    for n in np.argsort(-best):
        played = wins[:, n].sum(1) + wins[:, :, n].sum(1)  # (prompts,)
        row = {"model": models[n]} | _add_intervals(["strength"], best[[n]], drawn[:, [n]], level)
        rows.append(row | {"prompts": int((played > 0).sum()), "verdicts": round(played.sum())})
    return pd.DataFrame(rows)


def _win_matrices(verdicts):
    """Model names (M,), wins (prompts, M, M) of row over column with ties halved, and compared (M, M) bool."""
    code, models = pd.factorize(pd.concat([verdicts.model_a, verdicts.model_b]))
    a, b = code[: len(verdicts)], code[len(verdicts) :]
    prompt, prompts = pd.factorize(verdicts.prompt_id)
    score = verdicts.winner.map({"a": 1.0, "tie": 0.5, "b": 0.0}).to_numpy()
    wins = np.zeros((len(prompts), len(models), len(models)))
    np.add.at(wins, (prompt, a, b), score)
    np.add.at(wins, (prompt, b, a), 1 - score)
    played = wins.sum(0)
    return models.to_numpy(), wins, (played + played.T) > 0


def length_controlled(verdicts, by=GROUP, samples=300, level=0.95, seed=0):
    """The win rate that is left when both answers are equally long.

    A logistic regression of the verdict (a tie counts half) on tanh(d / s), d the difference of the lengths in characters
    and s its standard deviation; the rate is its value at d = 0. A slope of size 1 has a penalty of 1/2.

    return  one row a group: prompts, verdicts, rate (as it stands), controlled with _low and _high, and slope: the
            change of the log-odds when A's answer is much longer
    Raises ValueError when lengths are missing. Source: Dubois et al., 2024 (arXiv:2404.04475), without their terms for
    the model and the instruction, which need many models.
    """
    rng, rows = np.random.default_rng(seed), []
    for key, group in first_looks(verdicts).groupby(list(by), sort=False):
        difference = (group.length_a - group.length_b).to_numpy(float)
        if np.isnan(difference).any():
            raise ValueError("length_a, length_b: some are missing; verdicts.with_lengths adds them")
        z = np.tanh(difference / (difference.std() or 1.0))
        score = group.winner.map({"a": 1.0, "tie": 0.5, "b": 0.0}).to_numpy()
        prompt, names = pd.factorize(group.prompt_id)
        z, score = np.append(z, [0, 0, 0]), np.append(score, [1, 0.5, 0])  # the unseen outcomes, at equal lengths
        known = rng.standard_exponential((samples, len(names)))[:, prompt]
        unseen = rng.standard_gamma(UNSEEN, (samples, 3)) * len(group) / len(names)
        even = np.append(np.ones(len(group)), np.full(3, UNSEEN * len(group) / len(names)))[None]
        best = logistic(z, score, even, np.zeros((1, 2)), steps=30)
        drawn = logistic(z, score, np.hstack([known, unseen]), np.repeat(best, samples, 0), steps=4)
        row = dict(zip(by, key, strict=True)) | {"prompts": len(names), "verdicts": len(group), "rate": score[:-3].mean()}
        row |= _add_intervals(["controlled"], _sigmoid(best[0, :1]), _sigmoid(drawn[:, :1]), level)
        rows.append(row | {"slope": float(best[0, 1])})
    return pd.DataFrame(rows)


def logistic(z, score, weights, start, steps):
    """(B, 2) intercepts and slopes of B weighted logistic regressions at once, by Newton's method.

    z, score (N,); weights (B, N); start (B, 2). The slope has scikit-learn's penalty at C = 1, the intercept none.
    """
    intercept, slope = start.T.copy()  # (B,), (B,)
    for _ in range(steps):
        p = _sigmoid(intercept[:, None] + slope[:, None] * z)  # (B, N)
        miss, spread = weights * (score - p), weights * p * (1 - p)
        g0, g1 = miss.sum(1), miss @ z - slope
        h00, h01, h11 = spread.sum(1), spread @ z, spread @ z**2 + 1
        determinant = h00 * h11 - h01**2
        intercept += np.clip((h11 * g0 - h01 * g1) / determinant, -2, 2)
        slope += np.clip((h00 * g1 - h01 * g0) / determinant, -2, 2)
    return np.stack([intercept, slope], 1)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def measure_position_bias(verdicts, by=("source", "rater"), samples=SAMPLES, level=0.95, seed=0):
    """How often the decided verdicts went to the answer that was shown first; 0.5 when the place does not matter.

    return  one row a group: prompts, verdicts, decided, first with _low and _high (share of the decided; NaN when none)
    """
    place = np.where(verdicts.winner == "tie", "tie", np.where(verdicts.winner == verdicts.first_shown, "a", "b"))
    keys, counted = _count_verdicts(verdicts, by, winner=place)
    keys["prompts"] = [len(counts) for counts in counted]
    keys["verdicts"] = [int(counts.sum()) for counts in counted]
    keys["decided"] = [int(counts[:, [0, 2]].sum()) for counts in counted]
    rng, rows = np.random.default_rng(seed), []
    for counts, decided_ones in zip(counted, keys.decided, strict=True):
        drawn = _draw_samples(counts, samples, rng)
        share = counts[:, 0].sum() / decided_ones if decided_ones else np.nan
        rows.append(_add_intervals(["first"], [share], drawn[:, :1] / (drawn[:, :1] + drawn[:, 2:]), level))
    return keys.join(pd.DataFrame(rows))


def count_won_both(verdicts, model, others=None):
    """On how many prompts `model` beat each of the others, and on how many it lost to each (B, 6.1: 124 and 40 of 300).

    others  the opponents (default: all it was compared with); a prompt counts in n when all of them were compared on it.
            Of several people's verdicts on a prompt the balance counts: more wins than losses is a win.
    return  one row a source, language and kind of prompt, and one for kind "all": n, won_both, lost_both

    Raises ValueError for an opponent that `model` was not compared with.
    """
    own = turn_verdicts(first_looks(verdicts), model)
    others = list(dict.fromkeys(own.model_b)) if others is None else list(others)
    unknown = [name for name in others if name not in set(own.model_b)]
    if unknown:
        raise ValueError(f"{model} was not compared with {', '.join(unknown)}")
    own = own[own.model_b.isin(others)].assign(balance=lambda t: t.winner.map({"a": 1, "tie": 0, "b": -1}))
    prompt = ["source", "language", "kind", "prompt_id"]
    balance = np.sign(own.groupby([*prompt, "model_b"], sort=False).balance.sum()).unstack("model_b").dropna()
    won, lost = (balance > 0).all(axis=1), (balance < 0).all(axis=1)
    counted = pd.DataFrame({"n": 1, "won_both": won.astype(int), "lost_both": lost.astype(int)}).reset_index()
    every = counted.assign(kind="all")
    return pd.concat([every, counted]).groupby(prompt[:3], sort=False)[["n", "won_both", "lost_both"]].sum().reset_index()


def make_preference_tables(verdicts, model=None, seed=0):
    """Everything at once: name -> DataFrame, for a notebook to show.

    verdicts  table of `verdicts.make_verdicts`; a judge's two orders are settled here, but position looks at each of them
    model     the model that won_both is about (default: the first model_a)
    return    preference, kinds, strengths (a table a source), length (empty without lengths), position, won_both,
              agreement, alpha, consistency; all empty when there are no verdicts
    """
    names = "preference kinds strengths length position won_both agreement alpha consistency".split()
    if verdicts.empty:
        return {name: pd.DataFrame() for name in names}
    one = settle_verdicts(verdicts)
    ranked = [rank_models(group, seed=seed).assign(source=source) for source, group in one.groupby("source", sort=False)]
    measured = one[["length_a", "length_b"]].notna().all(axis=None)
    found = (
        summarize_verdicts(one, seed=seed),
        summarize_verdicts(one, (*GROUP, "kind"), seed=seed),
        pd.concat(ranked, ignore_index=True),
        length_controlled(one, seed=seed) if measured else pd.DataFrame(),
        measure_position_bias(verdicts, seed=seed),
        count_won_both(one, model or verdicts.model_a.iloc[0]),
        agreement.compare_raters(one),
        agreement.measure_alpha(one, seed=seed),
        agreement.measure_consistency(one),
    )
    return dict(zip(names, found, strict=True))
