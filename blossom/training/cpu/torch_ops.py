"""The element-wise operations between the matmuls of a decoder layer, in torch; compiled_ops.py has the same in C.

Notation as in decoder.py; `s` is a decoder.Shape. The residual stream, norms and attention scores are always float32, since
they are small differences of large numbers.
"""

import torch
import torch.nn.functional as F


class TorchOps:
    """The operations for any device and precision; the reference for `CompiledOps`."""

    def add_rms(self, x, extra, weight, eps, s):
        """Add `extra` to the residual stream x (M, D) and normalise: (sum float32, norm * weight, sum, 1/rms (M, 1)).

        The second and third are in the working precision; `norm` and `rms_backward` take the last two.
        """
        x = x if extra is None else x + extra
        r = torch.rsqrt(x.square().mean(-1, keepdim=True).add_(eps))
        return x, (x * r).mul_(weight).to(weight.dtype), x.to(weight.dtype), r

    def norm(self, x, r, weight, s):
        """Recompute the norm from the last two results of `add_rms`."""
        return (x * r).mul_(weight).to(weight.dtype)

    def rms_backward(self, dy, residual, x, r, weight, s):
        """Gradient of the residual stream: through the norm, plus `residual` from past it; in float32 and in dy's dtype."""
        unit, dunit = x * r, dy.float().mul_(weight)
        dx = torch.addcmul(residual, dunit.addcmul_(unit, (dunit * unit).mean(-1, keepdim=True), value=-1), r)
        return dx, dx.to(dy.dtype)

    def swiglu(self, gate_up, s):
        """gate_up (M, 2F) -> silu(gate) * up (M, F)."""
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate).mul_(up)

    def swiglu_backward(self, dinner, gate_up, s):
        """Gradient (M, F) of the output -> gradient (M, 2F) of gate_up."""
        gate, up = gate_up.chunk(2, -1)
        dgate_up = torch.empty_like(gate_up)
        dgate, dup = dgate_up.chunk(2, -1)
        torch.mul(dinner, F.silu(gate), out=dup)
        torch.ops.aten.silu_backward.grad_input(dinner * up, gate, grad_input=dgate)
        return dgate_up

    def split_heads(self, qkv, s):
        """qkv (M, (H+2K)*h) -> rotated and scaled q (B*K, T*G, h), rotated k and v (B*K, T, h)."""
        heads = qkv.view(s.batch, s.tokens, -1, s.width).transpose(1, 2)  # (B, H+2K, T, h)
        turned, value = heads.split([s.heads + s.key_heads, s.key_heads], 1)
        turned = _turn(turned.float(), s.cos, s.sin)
        q = (turned[:, : s.heads] * s.scale).to(qkv.dtype).unflatten(1, (s.key_heads, -1)).transpose(2, 3)
        shape = s.batch * s.key_heads, s.tokens, s.width
        return q.reshape(shape[0], -1, s.width), turned[:, s.heads :].to(qkv.dtype).reshape(shape), value.reshape(shape)

    def join_heads(self, dq, dk, dv, s):
        """Gradients of q, k and v -> gradient of qkv."""
        dq = dq.view(s.batch, s.key_heads, s.tokens, -1, s.width).transpose(2, 3).flatten(1, 2)
        dk, dv = (d.view(s.batch, -1, s.tokens, s.width) for d in (dk, dv))
        turned = _turn(torch.cat([dq.float() * s.scale, dk.float()], 1), s.cos, -s.sin)
        return torch.cat([turned.to(dv.dtype), dv], 1).transpose(1, 2).reshape(s.batch * s.tokens, -1)

    def softmax(self, scores, s, first):
        """scores (B*K, t*G, n) float32 of t queries from `first` on -> probabilities of the n keys, masked by `s`."""
        g = s.heads // s.key_heads
        return scores.add_(s.mask[:, first * g :][:, : scores.shape[1], : scores.shape[2]]).softmax(-1).to(s.dtype)

    def softmax_backward(self, dp, p, s, first):
        """dp float32 and probabilities p -> gradient of the scores in p's dtype."""
        return torch.ops.aten._softmax_backward_data(dp, p.float(), -1, dp.dtype).to(p.dtype)

    def exponentials(self, logits):
        """logits (n, C) -> e^logits, in place, and its sum over C (n, 1) in float32; in bfloat16 its error is below 1e-3."""
        e = logits.exp_()
        if e.dtype == torch.float32 or e.shape[1] % 64:
            return e, e.sum(-1, keepdim=True, dtype=torch.float32)
        return e, e.unflatten(-1, (64, -1)).sum(1).sum(-1, keepdim=True, dtype=torch.float32)


def _turn(x, cos, sin):
    """Rotary embedding of x (B, heads, T, h) by cos and sin (B or 1, T, h)."""
    low, high = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-high, low], -1) * sin[:, None]
