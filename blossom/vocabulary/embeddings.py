"""Initial rows of new tokens in the embedding tables (V, D); untied models have two, and each gets its own rows."""

import torch
from torch.nn import functional


def random_rows(old, count, seed):
    """Normal draws with mean 0 and the table's own standard deviation: (count, D), dtype of `old` (paper, §3.1)."""
    draws = torch.randn(count, old.shape[1], generator=torch.Generator().manual_seed(seed))
    return (draws * old.float().std().item()).to(old.dtype)


def mean_rows(old, count):
    """The mean of all rows of a table, `count` times: (count, D), dtype of `old`."""
    return old.float().mean(0).to(old.dtype).repeat(count, 1)


def subword_rows(old, pieces):
    """For each new token, the mean of the rows of the base tokens that spell it: (N, D), dtype of `old`.

    old     (V, D) float tensor, the base's table
    pieces  N lists of ids in 0..V-1: how the base spells each new token; ValueError for an empty list or another id
    Source: subword initialisation, e.g. EEVE (arXiv:2402.14714). Example: rows [2, 4] and [4, 8] -> [3, 6]
    """
    if empty := [i for i, ids in enumerate(pieces) if not ids]:
        raise ValueError(f"new tokens without base pieces (counted from 0): {empty[:10]}; their mean would be NaN")
    flat = torch.tensor([i for ids in pieces for i in ids], dtype=torch.long)
    if len(flat) and not 0 <= flat.min() <= flat.max() < len(old):
        raise ValueError(f"base pieces must be ids in 0..{len(old) - 1}, found {flat.min()}..{flat.max()}")
    offsets = torch.tensor([0, *map(len, pieces)]).cumsum(0)[:-1]
    return functional.embedding_bag(flat, old.float(), offsets, mode="mean").to(old.dtype)


def calibrate_rows(old, rows, hidden, targets, rounds=3, prior=2.0, most=4096):
    """Move output rows so that the model predicts each new token as often as it occurs: (N, D), dtype of `old`.

    old              (V, D) the base's output table
    rows             (N, D) rows of the new tokens V, V+1, ...
    hidden, targets  (M, D) and (M,): from `collect_states` on training text, with `rows` in the model
    prior            added to both counts, so that the logit of an unseen token stays finite
    most             number of states, evenly spaced, that the expected counts are computed on

    The states have a large mean m, so adding b m / |m|^2 to a row raises its logit by about b everywhere. Each round uses
    b = ln(observed + prior) - ln(expected + prior). Source: output bias at log unigram frequencies (arXiv:2212.09686).
    """
    mean = hidden.mean(0)
    direction = mean / mean.square().sum()
    observed = torch.bincount(targets, minlength=len(old) + len(rows))[len(old) :].float()  # (N,)
    rows, states = rows.float(), hidden[:: -(-len(hidden) // most)].to(torch.bfloat16)
    for _ in range(rounds):
        table = torch.cat([old.float(), rows]).to(torch.bfloat16).T  # (D, V+N)
        expected = sum((h @ table).float().softmax(-1)[:, len(old) :].sum(0) for h in states.split(512))  # (N,)
        expected *= len(hidden) / len(states)
        rows = rows + torch.log((observed + prior) / (expected + prior))[:, None] * direction
    return rows.to(old.dtype)
