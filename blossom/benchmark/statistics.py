"""Scores of a task over all of its items, and over many bootstrap draws of them."""

import math

import numpy as np
import pandas as pd
from scipy.stats import norm, t

BLEU_METRICS = ("bleu", "chrf", "bleu_first_line")  # of a whole corpus: not the mean of the items' own scores


def item_statistic(metric, items):
    """The function that maps (D, N) indices of items to (D,) scores from 0 to 1 (or bits/byte), one for each draw.

    metric  one of the items' numbers, "f1" (of label 1), "macro_f1", one of BLEU_METRICS, or "bits_per_byte" of documents
    """
    if metric == "bits_per_byte":
        nats, sizes = (np.array([item[key] for item in items], dtype=float) for key in ("nats", "bytes"))
        return lambda draws: nats[draws].sum(-1) / math.log(2) / sizes[draws].sum(-1)
    if metric in BLEU_METRICS:  # sacrebleu computes these from sums of the sentences' counts; so is every draw here
        scorer = bleu_scorer(metric)
        answers = [first_line(i["answer"]) if metric == "bleu_first_line" else i["answer"].strip() for i in items]
        counts = np.array(scorer._extract_corpus_statistics(answers, [[i["reference"] for i in items]]))  # (N, K)
        return lambda draws: np.array([scorer._compute_score_from_stats(list(counts[d].sum(0))).score / 100 for d in draws])
    if metric in ("f1", "macro_f1"):
        right, chosen = (np.array([item[key] for item in items]) for key in ("label", "choice"))
        return lambda draws: f1_of_draws(right[draws], chosen[draws], metric == "macro_f1")
    values = np.array([item[metric] for item in items], dtype=float)
    return lambda draws: values[draws].mean(-1)


def draw_items(count, times=2000, seed=0):
    """(times, count) indices of items, drawn with replacement; the same for every model, so that draws are paired."""
    return np.random.default_rng(seed).integers(0, count, (times, count))


def widen_draws(draws, whole, count):
    """Bootstrap draws (D,) spread around `whole`, of `count` items, as t is wider than the normal (Hesterberg 2015)."""
    freedom = max(count - 1, 1)
    return whole + (draws - whole) * t.ppf(0.975, freedom) / norm.ppf(0.975) * math.sqrt(count / freedom)


def f1_of_draws(right, chosen, macro):
    """scikit-learn's F1 over the last axis of (..., N) integer labels: the mean over labels if `macro`, else label 1's."""
    scores = []
    for label in range(int(max(right.max(), chosen.max())) + 1) if macro else [1]:
        both = ((right == label) & (chosen == label)).sum(-1)
        either = (right == label).sum(-1) + (chosen == label).sum(-1)
        scores.append(np.where(either > 0, 2 * both / np.maximum(either, 1), np.nan if macro else 0.0))
    return np.nanmean(scores, axis=0)


def bleu_scorer(metric):
    """sacrebleu's scorer of one of BLEU_METRICS, with its defaults: BLEU (13a, exponential smoothing) or chrF2."""
    import sacrebleu

    return sacrebleu.CHRF() if metric == "chrf" else sacrebleu.BLEU()


def first_line(answer):
    """The first line of an answer that is not empty; "" when there is none."""
    return next((line.strip() for line in answer.split("\n") if line.strip()), "")


def tabulate_accuracy(items, by="phenomenon"):
    """Accuracy of one model on its items by a key that some have: it, items, right (share), low, high (95 % interval)."""
    found = pd.DataFrame([(item[by], item["acc"]) for item in items if by in item], columns=[by, "right"])
    table = found.groupby(by, sort=False).right.agg(items="size", right="mean").reset_index()
    low, high = wilson_interval(table.right.to_numpy(), table["items"].to_numpy())
    return table.assign(low=low, high=high)


def wilson_interval(share, count, z=1.96):
    """Wilson's 95 % interval of a share of `count` trials: (low, high), arrays. Example: 0.5 of 10 -> 0.24, 0.76."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    low, high = np.minimum(middle - half, share), np.maximum(middle + half, share)  # rounding leaves no share out
    return np.maximum(low, 0.0), np.minimum(high, 1.0)
