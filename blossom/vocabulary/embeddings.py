"""Rows of new tokens in the embedding tables (V, D), two in an untied model: their start, and what training did to them."""

import copy

import numpy as np
import pandas as pd
import torch
from torch.nn import functional


def random_rows(old, count, seed):
    """Normal draws with mean 0 and the table's own standard deviation: (count, D), dtype of `old` (paper, §3.1)."""
    draws = torch.randn(count, old.shape[1], generator=torch.Generator().manual_seed(seed))
    return (draws * old.float().std().item()).to(old.dtype)


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


def calibrate_rows(old, rows, hidden, counts, rounds=3, prior=2.0):
    """Move output rows so that the model predicts each new token as often as it occurs: (N, D), dtype of `old`.

    old     (V, D) the base's output table
    rows    (N, D) rows of the new tokens V, V+1, ...
    hidden  (M, D) from `collect_states` on some of the training text, with `rows` in the model
    counts  (V+N,) how often each token occurs in all of it
    prior   added to both counts, so that the logit of an unseen token stays finite

    The states have a large mean m, so adding b m / |m|^2 to a row raises its logit by about b everywhere. Each round uses
    b = ln(observed + prior) - ln(expected + prior). Source: output bias at log unigram frequencies (arXiv:2212.09686).
    """
    mean = hidden.mean(0)
    direction = mean / mean.square().sum()
    half, rows = old.to(torch.bfloat16).T, rows.float()
    states = hidden.to(torch.bfloat16).split(512)
    parts = [(h, (h @ half).float().logsumexp(-1, keepdim=True)) for h in states]  # with ln of the base's sum
    for _ in range(rounds):
        logits = (((h @ rows.to(torch.bfloat16).T).float(), base) for h, base in parts)
        expected = sum((x - x.logsumexp(-1, keepdim=True).logaddexp(base)).exp().sum(0) for x, base in logits)  # (N,)
        expected *= counts.sum() / len(hidden)
        rows = rows + torch.log((counts[len(old) :] + prior) / (expected + prior))[:, None] * direction
    return rows.to(old.dtype)


def distill_rows(model, old, rows, pieces, documents, rate=1e-2, length=256):
    """Learn input rows with which the model reads new tokens as it reads their spelling: ((N, D) of old's dtype, errors).

    model, old  the base, which is frozen, and its input table (V, D)
    rows        (N, D) rows of the new tokens V, V+1, ... to start from
    pieces      N lists of ids below V: how the base spells each new token
    documents   training text, read once: lists of ids below V+N that begin with `start_token`
    errors      |state - wanted| / |wanted| of each `length` tokens before their step

    After a third of the layers, the state of a token should be that of the last base token of its spelling in the same
    text (mean squared error). Source: token distillation (arXiv:2505.20133).
    """
    lower, embed, first = copy.copy(find_decoder(model.requires_grad_(False))), model.get_input_embeddings(), len(old)
    depth, layers = max((len(m), name) for name, m in lower.named_children() if isinstance(m, torch.nn.ModuleList))
    third, place = getattr(lower, layers)[: -(-depth // 3)], model.device
    lower._modules = lower._modules | {layers: third, "norm": torch.nn.Identity()}  # it shares the weights
    some = torch.arange(min(64, first), device=place)
    factor = (embed(some).float().norm() / embed.weight[some].float().norm()).item()  # Gemma's, of its rows
    base, learnt, errors = old.to(place), rows.to(place, torch.float32, copy=True).requires_grad_(), []
    optimizer, text = torch.optim.SparseAdam([learnt], lr=rate), [i for ids in documents for i in ids]

    def read(x):
        return lower(inputs_embeds=factor * x[None].to(model.dtype), use_cache=False).last_hidden_state[0].float()

    for begin in range(0, len(text), length):
        ids = torch.tensor([documents[0][0], *text[begin : begin + length]], device=place)
        spelled = [pieces[i - first] if i >= first else [i] for i in ids.tolist()]
        ends = torch.tensor([*map(len, spelled)]).cumsum(0) - 1
        with torch.no_grad():
            wanted = read(base[[i for part in spelled for i in part]])[ends]
        new = functional.embedding((ids - first).clamp(min=0), learnt, sparse=True)
        apart = read(torch.where(ids[:, None] >= first, new, base[ids.clamp(max=first - 1)].float())) - wanted
        optimizer.zero_grad()
        apart[1:].square().mean().backward()  # without the start, which is read alike
        optimizer.step()
        errors.append((apart[1:].norm() / wanted[1:].norm()).item())
    return learnt.detach().to(old), errors


def summarize_rows(blocks, count, before, after, first):
    """For each new row, count how often it was read and how far it moved: DataFrame by token id.

    `read` counts the token in the first `count` rows of `blocks`; `moved` is the norm of the change over the norm before.

    before, after  (V, D) embedding tables
    first          id of the first new row
    """
    read = np.zeros(len(after), dtype=np.int64)
    for some in (range(count)[i : i + 1024] for i in range(0, count, 1024)):  # a count of all ids takes long by the block
        read += np.bincount(np.concatenate([blocks[i]["input_ids"] for i in some]), minlength=len(after))
    old, new = before[first:].detach().float(), after[first:].detach().float()
    moved = (new - old).norm(dim=1) / old.norm(dim=1).clamp(min=1e-12)
    return pd.DataFrame({"read": read[first:], "moved": moved.numpy()}, index=pd.RangeIndex(first, len(after), name="token"))


def nearest_rows(table, ids, count=5):
    """Ids (len(ids), count) of the rows of `table` (V, D) that are nearest by cosine after subtracting the mean row."""
    centred = functional.normalize(table.detach().float() - table.detach().float().mean(0), dim=1)
    likeness = centred[ids] @ centred.T
    likeness[torch.arange(len(ids)), torch.as_tensor(ids)] = -2.0
    return likeness.topk(count).indices


def find_decoder(causal):
    """The part of a causal language model that makes the last hidden states of ids; a decoder itself is returned."""
    parts = [causal.get_decoder(), *causal.children()]  # the first is an output layer in ModernBERT, all of it in Llama 4
    return next((m for m in parts if m is not causal and hasattr(m, "get_input_embeddings")), causal)
