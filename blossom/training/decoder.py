"""A Llama decoder's forward and backward passes written out by hand, for training adapters on CPU.

Autograd over the library's modules computes more than is needed here: gradients of frozen weights' casts, copies of
every head, float32 copies of norms. Written out, a layer is about forty operations forward and sixty backward, all of
them matrix products or passes over small tensors; only the adapters' gradients and the input's are computed.

Numbers agree with the library's to bfloat16 rounding (tests/test_training.py compares both passes in float32 exactly).
Notation: B sequences, T tokens each, M = B*T, D hidden size, H query heads, K key heads, G = H/K, h head size,
F feed-forward size, R rank of stacked adapters.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers.modeling_outputs import BaseModelOutputWithPast

GROUPS = {  # projections that read the same input share one matrix product
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "out": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"),
    "down": ("down_proj",),
}
LONGEST = 512  # beyond this many tokens the (T, T) scores outweigh flash attention's slow backward


@dataclass
class Frozen:
    """What a layer does not learn, in the working precision; w[g] (out, in) is group g's stacked matrix."""

    norm1: torch.Tensor
    norm2: torch.Tensor
    eps: float
    w: dict
    b: dict


@dataclass
class Shape:
    """Sizes of a batch and its tables, shared by all layers."""

    batch: int
    tokens: int
    heads: int
    key_heads: int
    width: int
    rotate_q: tuple  # cos, sin (T, h) or (B, T, h), scaled by 1/sqrt(h)
    rotate_k: tuple
    mask: torch.Tensor  # (G*T, T) or (B*K, G*T, T), 0 where attention is allowed, -inf elsewhere


# ------------------------------------------------------------------------------------------------------ small pieces


def rms(x, weight, eps):
    """x (M, D) float32 -> normalised and weighted (M, D) in the weight's precision, normalised (M, D), 1/rms (M, 1)."""
    r = torch.rsqrt(x.square().mean(-1, keepdim=True).add_(eps))
    unit = x * r
    return (unit * weight).to(weight.dtype), unit, r


def rms_backward(dy, residual, weight, unit, r):
    """Gradient of the norm's input, plus the gradient that comes past it on the residual stream; float32 (M, D)."""
    dunit = dy.float().mul_(weight)
    along = (dunit * unit).mean(-1, keepdim=True)
    return torch.addcmul(residual, dunit.addcmul_(unit, along, value=-1), r)


def linear(x, w, b, adapter):
    """x (M, in) -> (M, out) and the adapter's inner activation (M, R); adapter is (A (R, in), B (out, R)) or None."""
    y = x @ w.t() if b is None else torch.addmm(b, x, w.t())
    if adapter is None:
        return y, None
    u = x @ adapter[0].t()
    return y.addmm_(u, adapter[1].t()), u


def linear_backward(dy, x, u, w, adapter):
    """Gradients of x, A and B; none of the frozen w."""
    dx = dy @ w
    if adapter is None:
        return dx, None, None
    du = dy @ adapter[1]
    return dx.addmm_(du, adapter[0]), du.t() @ x, dy.t() @ u


def exact(a, b):
    """a (N, m, h), b (N, n, h) -> a @ b.T (N, m, n) in float32.

    Attention scores are large and differ by little, so bfloat16 scores would move probabilities by a quarter. On CPU the
    processor's bfloat16 products already sum in float32; this setting lets float32 matmul use them. The factors are
    bfloat16 values, so nothing is lost.
    """
    if a.dtype == torch.float32:
        return a @ b.transpose(1, 2)
    setting = torch.backends.mkldnn.matmul
    before, setting.fp32_precision = setting.fp32_precision, "bf16"
    try:
        return a.float() @ b.float().transpose(1, 2)
    finally:
        setting.fp32_precision = before


def rotate(source, tables, out, backward=False):
    """Rotary embedding of `source` (.., h) written into `out`; backward turns the other way."""
    cos, sin = tables
    half = source.shape[-1] // 2
    sign = 1 if backward else -1
    torch.mul(source, cos, out=out)
    out[..., :half].addcmul_(source[..., half:], sin[..., :half], value=sign)
    out[..., half:].addcmul_(source[..., :half], sin[..., half:], value=-sign)


def split_heads(qkv, s):
    """qkv (M, (H+2K)*h) -> rotated, scaled q (B*K, G*T, h), rotated k and v (B*K, T, h): a key head's queries together."""
    b, t, k, g = s.batch, s.tokens, s.key_heads, s.heads // s.key_heads
    q_in, k_in, v_in = qkv.view(b, t, -1, s.width).split([s.heads, k, k], 2)
    q = qkv.new_empty(b, k, g, t, s.width)
    key = qkv.new_empty(b, k, t, s.width)
    rotate(q_in.view(b, t, k, g, s.width).permute(0, 2, 3, 1, 4), s.rotate_q, q)
    rotate(k_in.transpose(1, 2), s.rotate_k, key)
    value = v_in.transpose(1, 2).contiguous()
    return q.view(b * k, g * t, s.width), key.view(b * k, t, s.width), value.view(b * k, t, s.width)


def join_heads(dq, dk, dv, s):
    """The way back of `split_heads`, for gradients."""
    b, t, k, g = s.batch, s.tokens, s.key_heads, s.heads // s.key_heads
    dqkv = dq.new_empty(b, t, s.heads + 2 * k, s.width)
    q_out, k_out, v_out = dqkv.split([s.heads, k, k], 2)
    rotate(dq.view(b, k, g, t, s.width), s.rotate_q, q_out.view(b, t, k, g, s.width).permute(0, 2, 3, 1, 4), backward=True)
    rotate(dk.view(b, k, t, s.width), s.rotate_k, k_out.transpose(1, 2), backward=True)
    v_out.transpose(1, 2).copy_(dv.view(b, k, t, s.width))
    return dqkv.view(b * t, -1)


def swap_heads(x, s, back=False):
    """(B*K, G*T, h) -> (M, H*h), or back."""
    b, t, k, g = s.batch, s.tokens, s.key_heads, s.heads // s.key_heads
    if back:
        return x.view(b, t, k, g, s.width).permute(0, 2, 3, 1, 4).reshape(b * k, g * t, s.width)
    return x.view(b, k, g, t, s.width).permute(0, 3, 1, 2, 4).reshape(b * t, -1)


# ----------------------------------------------------------------------------------------------------------- a layer


class Layer(torch.autograd.Function):
    """One decoder layer, x (M, D) -> (M, D); learns the eight adapter matrices it is given (or None)."""

    @staticmethod
    def forward(ctx, x, frozen, s, *adapters):
        a = {
            g: pair if pair[0] is not None else None
            for g, pair in zip(GROUPS, zip(adapters[::2], adapters[1::2], strict=True), strict=True)
        }
        w, b = frozen.w, frozen.b
        y1, unit1, r1 = rms(x, frozen.norm1, frozen.eps)
        qkv, u_qkv = linear(y1, w["qkv"], b["qkv"], a["qkv"])
        q, k, v = split_heads(qkv, s)
        p = exact(q, k).add_(s.mask).softmax(-1).to(q.dtype)  # (B*K, G*T, T)
        heads = swap_heads(p @ v, s)  # (M, H*h)
        out, u_out = linear(heads, w["out"], b["out"], a["out"])
        x2 = x + out
        y2, unit2, r2 = rms(x2, frozen.norm2, frozen.eps)
        gate_up, u_gate_up = linear(y2, w["gate_up"], b["gate_up"], a["gate_up"])
        gate, up = gate_up.chunk(2, -1)
        silu = F.silu(gate)
        inner = silu * up
        down, u_down = linear(inner, w["down"], b["down"], a["down"])
        keep_y1, keep_heads = (t if a[g] else None for t, g in ((y1, "qkv"), (heads, "out")))
        keep_y2, keep_inner = (t if a[g] else None for t, g in ((y2, "gate_up"), (inner, "down")))
        ctx.frozen, ctx.s = frozen, s
        ctx.save_for_backward(
            unit1, r1, q, k, v, p, unit2, r2, gate_up, silu, u_qkv, u_out, u_gate_up, u_down,
            keep_y1, keep_heads, keep_y2, keep_inner, *adapters,
        )  # fmt: skip
        return x2 + down

    @staticmethod
    def backward(ctx, dx3):
        frozen, s, w = ctx.frozen, ctx.s, ctx.frozen.w
        unit1, r1, q, k, v, p, unit2, r2, gate_up, silu, u_qkv, u_out, u_gate_up, u_down, *rest = ctx.saved_tensors
        y1, heads, y2, inner, *adapters = rest
        a = {
            g: pair if pair[0] is not None else None
            for g, pair in zip(GROUPS, zip(adapters[::2], adapters[1::2], strict=True), strict=True)
        }
        dinner, *d_down = linear_backward(dx3.to(q.dtype), inner, u_down, w["down"], a["down"])
        gate, up = gate_up.chunk(2, -1)
        dgate_up = torch.empty_like(gate_up)
        torch.mul(dinner, silu, out=dgate_up[:, silu.shape[1] :])
        torch.ops.aten.silu_backward.grad_input(dinner.mul_(up), gate, grad_input=dgate_up[:, : silu.shape[1]])
        dy2, *d_gate_up = linear_backward(dgate_up, y2, u_gate_up, w["gate_up"], a["gate_up"])
        dx2 = rms_backward(dy2, dx3, frozen.norm2, unit2, r2)
        dheads, *d_out = linear_backward(dx2.to(q.dtype), heads, u_out, w["out"], a["out"])
        dout = swap_heads(dheads, s, back=True)
        dp = exact(dout, v)
        dscores = torch.ops.aten._softmax_backward_data(dp, p.float(), -1, dp.dtype).to(p.dtype)
        dqkv = join_heads(dscores @ k, dscores.transpose(1, 2) @ q, p.transpose(1, 2) @ dout, s)
        dy1, *d_qkv = linear_backward(dqkv, y1, u_qkv, w["qkv"], a["qkv"])
        return (rms_backward(dy1, dx2, frozen.norm1, unit1, r1), None, None, *d_qkv, *d_out, *d_gate_up, *d_down)


# --------------------------------------------------------------------------------------------------------- the decoder


class Quick:
    """Stands in for the library decoder's forward where it can, and calls the library's where it cannot.

    decoder  a Llama-like decoder: layers of input_layernorm, self_attn (q, k, v, o), post_attention_layernorm, gated MLP
    dtype    the working precision; all frozen weights are recast to it, stacked by group, in place
    """

    def __init__(self, decoder, dtype):
        self.decoder, self.dtype = decoder, dtype
        self.original = getattr(decoder.forward, "original", decoder.forward)  # not another Quick's
        self.config = decoder.config
        self.layers = [(_freeze(layer, dtype), _adapters(layer)) for layer in decoder.layers]
        self.bare = False  # True: as if there were no adapters

    def __call__(self, input_ids=None, inputs_embeds=None, segments=None, **other):
        busy = any(v is not None and v is not False for k, v in other.items() if k != "position_ids")
        x = self.decoder.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        if busy or x.shape[1] > LONGEST:  # decoding with a cache, odd masks, long texts
            if segments is not None:
                other |= {"attention_mask": allowed(segments, x.dtype)[:, None], "position_ids": positions(segments)}
            return self.original(inputs_embeds=x, **other)
        b, t, d = x.shape
        shape = self.shape(b, t, segments, other.get("position_ids"))
        x = x.float().reshape(b * t, d)  # the residual stream: in bfloat16 its gradients would be noise
        for frozen, adapters in self.layers:
            pairs = [(None, None) if self.bare else stacked(group, self.dtype) for group in adapters]
            x = Layer.apply(x, frozen, shape, *(m for pair in pairs for m in pair))
        return BaseModelOutputWithPast(last_hidden_state=self.decoder.norm(x).view(b, t, d))

    def shape(self, b, t, segments, position_ids):
        c = self.config
        heads, key_heads = c.num_attention_heads, c.num_key_value_heads
        width = getattr(c, "head_dim", None) or c.hidden_size // heads
        place = self.decoder.norm.weight.device
        if position_ids is None:
            position_ids = torch.arange(t, device=place)[None] if segments is None else positions(segments)
        tables = self.decoder.rotary_emb(torch.empty(0, dtype=torch.float32, device=place), position_ids)
        scale = width**-0.5
        rotate_q = [(table * scale).to(self.dtype)[:, None, None] for table in tables]  # (1 or B, 1, 1, T, h)
        rotate_k = [table.to(self.dtype)[:, None] for table in tables]
        if segments is None:
            mask = torch.full((t, t), -torch.inf, device=place).triu(1).repeat(heads // key_heads, 1)
        else:
            mask = allowed(segments, torch.float32)[:, None, None].expand(b, key_heads, heads // key_heads, t, t)
            mask = mask.reshape(b * key_heads, -1, t)
        return Shape(b, t, heads, key_heads, width, rotate_q, rotate_k, mask)


def positions(segments):
    """segments (B, T) -> position of each token within its own segment (B, T)."""
    index = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    new = torch.ones_like(segments, dtype=torch.bool)
    new[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return index - torch.where(new, index, 0).cummax(1).values


def allowed(segments, dtype):
    """segments (B, T) -> additive mask (B, T, T): 0 where a token may see another of its own segment, else -inf.

    Every token sees itself, so that no row of the softmax is empty.
    """
    t = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]
    seen = same & torch.ones(t, t, dtype=torch.bool, device=segments.device).tril()
    return torch.where(seen, 0.0, -torch.inf).to(dtype)


def fits(decoder, trainable="lora"):
    """Can `Quick` stand in for this decoder? (Llama, Mistral with a window beyond LONGEST, Qwen2, SmolLM2; frozen base.)"""
    layer = decoder.layers[0] if hasattr(decoder, "layers") else None
    names = [name for name, _ in layer.named_modules()] if layer is not None else []
    expected = {"input_layernorm", "post_attention_layernorm", "self_attn", "mlp"} | {
        f"self_attn.{n}" for n in ("q_proj", "k_proj", "v_proj", "o_proj")
    } | {f"mlp.{n}" for n in ("gate_proj", "up_proj", "down_proj", "act_fn")}  # fmt: skip
    extra = {n.split(".")[-1] for n in names} & {"q_norm", "k_norm", "pre_feedforward_layernorm"}
    if not expected <= set(names) or extra or decoder.config.hidden_act != "silu":
        return False
    window = getattr(decoder.config, "sliding_window", None)
    trained = [n for n, p in decoder.layers.named_parameters() if p.requires_grad and "lora_" not in n]
    return not trained and (window is None or window >= LONGEST)


def _modules(layer, group):
    owner = layer.self_attn if group in ("qkv", "out") else layer.mlp
    return [getattr(owner, name) for name in GROUPS[group]]


def _freeze(layer, dtype):
    """The frozen weights of a layer in `dtype`, one matrix a group; the layer's own modules become views of them."""
    w, b = {}, {}
    for group in GROUPS:
        bases = [m.get_base_layer() if hasattr(m, "get_base_layer") else m for m in _modules(layer, group)]
        w[group] = torch.cat([m.weight.data.to(dtype) for m in bases])
        biases = [m.bias for m in bases]
        b[group] = torch.cat([bias.data.to(dtype) for bias in biases]) if biases[0] is not None else None
        for base, view in zip(bases, w[group].split([len(m.weight) for m in bases]), strict=True):
            base.weight.data = view
            if base.bias is not None:
                base.bias.data = base.bias.data.to(dtype)
    for norm in (layer.input_layernorm, layer.post_attention_layernorm):
        norm.weight.data = norm.weight.data.to(dtype)
    norms = layer.input_layernorm, layer.post_attention_layernorm
    return Frozen(norms[0].weight.data, norms[1].weight.data, norms[0].variance_epsilon, w, b)


def _adapters(layer):
    """Per group, what `stacked` needs of each projection: its width and its A and B modules with their scale, or None."""
    return [
        [
            (m.out_features, m.lora_A["default"], m.lora_B["default"], m.scaling["default"])
            if hasattr(m, "lora_A") and "default" in m.lora_A
            else (m.out_features, None, None, 0.0)
            for m in _modules(layer, group)
        ]
        for group in GROUPS
    ]


def stacked(group, dtype):
    """The adapters of a group as one pair: A (R, in) stacked, B (out, R) block by block, scaled; (None, None) without."""
    trained = [part for part in group if part[1] is not None]
    if not trained:
        return None, None
    a = torch.cat([A.weight for _, A, _, _ in trained])
    b = torch.block_diag(*(B.weight * scale if A is not None else a.new_zeros(width, 0) for width, A, B, scale in group))
    return a.to(dtype), b.to(dtype)
