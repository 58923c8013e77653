"""Causal attention within segments by blocks of queries, forward and backward; notation as in decoder.py.

Queries are laid out as (B*K, T*G, h): the G queries of a token that share a key head are adjacent. `s` is a
decoder.Shape, `ops` TorchOps or CompiledOps.
"""

import torch

BLOCK = 128  # queries at a time; keys after a block are skipped, which halves the work and the stored probabilities


def _blocks(tokens):
    """(first query, end) of each block of queries; the block sees the keys before `end`."""
    return [(first, min(first + BLOCK, tokens)) for first in range(0, tokens, BLOCK)]


def attend(q, k, v, s, ops):
    """q (B*K, T*G, h), k and v (B*K, T, h) -> output like q, and each block's probabilities."""
    heads, kept, g = torch.empty_like(q), [], s.heads // s.key_heads
    for first, end in _blocks(s.tokens):
        own = slice(first * g, end * g)
        p = ops.softmax(_exact(q[:, own], k[:, :end], s.passing), s, first)  # (B*K, (end - first)*G, end)
        heads[:, own] = p @ v[:, :end]
        kept.append(p)
    return heads, kept


def attend_backward(dheads, q, k, v, kept, s, ops):
    """Gradients of q, k and v."""
    dq, dk, dv, g = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v), s.heads // s.key_heads
    for (first, end), p in zip(_blocks(s.tokens), kept, strict=True):
        own = slice(first * g, end * g)
        dscores = ops.softmax_backward(_exact(dheads[:, own], v[:, :end], s.passing), p, s, first)
        dq[:, own] = dscores @ k[:, :end]
        dk[:, :end].baddbmm_(dscores.transpose(1, 2), q[:, own])
        dv[:, :end].baddbmm_(p.transpose(1, 2), dheads[:, own])
    return dq, dk, dv


def _exact(a, b, memory):
    """a (N, m, h) @ b (N, n, h).T in float32; bfloat16 inputs use the processor's bfloat16 matmul, which accumulates in it.

    Scores rounded to bfloat16 would change probabilities by up to a quarter.
    """
    out = memory.empty((len(a), a.shape[1], b.shape[1]), torch.float32, a.device)
    if a.dtype == torch.float32:
        return torch.bmm(a, b.transpose(1, 2), out=out)
    setting = torch.backends.mkldnn.matmul
    before, setting.fp32_precision = setting.fp32_precision, "bf16"
    try:
        return torch.bmm(a.float(), b.float().transpose(1, 2), out=out)
    finally:
        setting.fp32_precision = before


def swap_heads(x, s, back=False):
    """(B*K, T*G, h) -> (M, H*h), or back."""
    if back:
        return x.view(s.batch, s.tokens, s.key_heads, -1).transpose(1, 2).reshape(s.batch * s.key_heads, -1, s.width)
    return x.view(s.batch, s.key_heads, s.tokens, -1).transpose(1, 2).reshape(s.batch * s.tokens, -1)
