"""A Llama decoder's forward and backward passes written out, for training adapters on CPU.

A layer is its matmuls with fused element-wise kernels between them (torch_ops.py, compiled_ops.py), and only the gradients
of the adapters and of the layer's input are computed. Results agree with transformers' to rounding (tests/test_learner.py).

Notation: B sequences, T tokens each, M = B*T, D hidden size, H query heads, K key heads, G = H/K, h head size,
F feed-forward size, R rank of stacked adapters.
"""

import functools
from dataclasses import dataclass, field

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

from blossom.training.cpu import attention, compiled_ops
from blossom.training.cpu.memory import BufferPool
from blossom.training.varlen import segment_lengths, takes_lengths

# projections that read the same input share one matmul
GROUPS = {"qkv": "q_proj k_proj v_proj".split(), "out": ["o_proj"]}
GROUPS |= {"gate_up": ["gate_proj", "up_proj"], "down": ["down_proj"]}
LONGEST = 512  # tokens; in longer sequences flash attention is faster than these (T, T) scores


@dataclass
class LayerWeights:
    """A layer's frozen weights in the working precision, and its adapters, by group of projections."""

    norm1: torch.Tensor
    norm2: torch.Tensor
    eps: float
    w: dict  # the stacked matrix (out, in)
    b: dict  # its bias or None
    adapters: dict  # for each projection of the group: its width and (A, B, scale) or None


@dataclass
class Shape:
    """Sizes of a batch, and what all layers share: rotary tables, segments, buffers."""

    batch: int
    tokens: int
    heads: int
    key_heads: int
    width: int  # of a head
    scale: float  # of the queries, 1/sqrt(h)
    cos: torch.Tensor  # (B or 1, T, h) float32
    sin: torch.Tensor
    start: torch.Tensor  # (B, T) int32: a query at t sees the keys from start[t] to t
    dtype: torch.dtype  # the working precision
    kept: BufferPool = field(default_factory=BufferPool)  # for what the backward pass needs
    passing: BufferPool = field(default_factory=BufferPool)  # for everything else

    @functools.cached_property
    def mask(self):
        """(B*K, T*G, T) float32: 0 where attention is allowed, else -inf."""
        keys, groups = torch.arange(self.tokens), self.heads // self.key_heads
        seen = (keys >= self.start[:, :, None]) & (keys <= keys[:, None])  # (B, T, T)
        mask = torch.where(seen, 0.0, -torch.inf)[:, None, :, None].expand(-1, self.key_heads, -1, groups, -1)
        return mask.reshape(self.batch * self.key_heads, -1, self.tokens)


def linear(x, w, b, adapter, memory):
    """x (M, in) -> (M, out) and the adapter's inner activation (M, R); adapter: (A (R, in), B (out, R)) or None."""
    y = memory.empty((len(x), len(w)), x.dtype, x.device)
    y = torch.mm(x, w.t(), out=y) if b is None else torch.addmm(b, x, w.t(), out=y)
    if adapter is None:
        return y, None
    u = x @ adapter[0].t()
    return y.addmm_(u, adapter[1].t()), u


def linear_backward(dy, x, u, w, adapter, memory):
    """Gradients of x, A and B."""
    dx = torch.mm(dy, w, out=memory.empty((len(dy), w.shape[1]), dy.dtype, dy.device))
    if adapter is None:
        return dx, None, None
    du = dy @ adapter[1]
    return dx.addmm_(du, adapter[0]), du.t() @ x, dy.t() @ u


class Layer(torch.autograd.Function):
    """One decoder layer, with gradients for its input and its eight adapter matrices (A and B of each group, or None).

    The residual stream is passed as two summands, x (M, D) float32 and `extra` (M, D), the output of the last matmul: the
    next norm adds them, which saves a pass over memory.
    """

    @staticmethod
    def forward(ctx, x, extra, frozen, s, ops, *adapters):
        a, w, b = _by_group(adapters), frozen.w, frozen.b
        x1, y1, *norm1 = ops.add_rms(x, extra, frozen.norm1, frozen.eps, s)
        qkv, u_qkv = linear(y1, w["qkv"], b["qkv"], a["qkv"], s.passing)
        q, k, v = ops.split_heads(qkv, s)
        heads, kept = attention.attend(q, k, v, s, ops)
        heads = attention.swap_heads(heads, s)  # (M, H*h)
        out, u_out = linear(heads, w["out"], b["out"], a["out"], s.passing)
        x2, y2, *norm2 = ops.add_rms(x1, out, frozen.norm2, frozen.eps, s)
        gate_up, u_gate_up = linear(y2, w["gate_up"], b["gate_up"], a["gate_up"], s.kept)
        down, u_down = linear(ops.swiglu(gate_up, s), w["down"], b["down"], a["down"], s.passing)
        ctx.frozen, ctx.s, ctx.ops, ctx.first = frozen, s, ops, extra is None
        u = u_qkv, u_out, u_gate_up, u_down
        ctx.save_for_backward(*norm1, *norm2, q, k, v, gate_up, heads if a["out"] else None, *u, *adapters, *kept)
        return x2, down

    @staticmethod
    def backward(ctx, dx3, ddown):
        frozen, s, ops, w = ctx.frozen, ctx.s, ctx.ops, ctx.frozen.w
        x1, r1, x2, r2, q, k, v, gate_up, heads, *rest = ctx.saved_tensors
        (u_qkv, u_out, u_gate_up, u_down), adapters, kept = rest[:4], rest[4:12], rest[12:]
        a = _by_group(adapters)
        # recomputing the adapters' inputs costs an element-wise pass; storing them would take a third of the activations
        y1 = ops.norm(x1, r1, frozen.norm1, s) if a["qkv"] else None
        y2 = ops.norm(x2, r2, frozen.norm2, s) if a["gate_up"] else None
        inner = ops.swiglu(gate_up, s) if a["down"] else None
        dinner, *d_down = linear_backward(ddown, inner, u_down, w["down"], a["down"], s.passing)
        dgate_up = ops.swiglu_backward(dinner, gate_up, s)
        dy2, *d_gate_up = linear_backward(dgate_up, y2, u_gate_up, w["gate_up"], a["gate_up"], s.passing)
        dx2, dout = ops.rms_backward(dy2, dx3, x2, r2, frozen.norm2, s)
        dheads, *d_out = linear_backward(dout, heads, u_out, w["out"], a["out"], s.passing)
        dheads = attention.swap_heads(dheads, s, back=True)
        dqkv = ops.join_heads(*attention.attend_backward(dheads, q, k, v, kept, s, ops), s)
        dy1, *d_qkv = linear_backward(dqkv, y1, u_qkv, w["qkv"], a["qkv"], s.passing)
        dx1, dextra = ops.rms_backward(dy1, dx2, x1, r1, frozen.norm1, s)
        return (dx1, None if ctx.first else dextra, None, None, None, *d_qkv, *d_out, *d_gate_up, *d_down)


def _by_group(adapters):
    pairs = zip(adapters[::2], adapters[1::2], strict=True)
    return {group: pair if pair[0] is not None else None for group, pair in zip(GROUPS, pairs, strict=True)}


class FastDecoder:
    """A decoder's layers by `Layer`, called like transformers' decoder, whose own forward runs what `Layer` cannot.

    decoder  of the Llama family (see `supports_decoder`)
    dtype    working precision; frozen weights are cast to it and stacked by group, and the modules' weights become views of
             the stacks
    """

    def __init__(self, decoder, dtype):
        self.decoder, self.dtype, self.library_forward = decoder, dtype, decoder.forward
        self.ops = compiled_ops.pick_ops(dtype, decoder.norm.weight.device)
        self.layers = [_freeze(layer, dtype) for layer in decoder.layers]
        self.memory = BufferPool(), BufferPool()

    def __call__(self, input_ids=None, inputs_embeds=None, position_ids=None, adapted=True, **other):
        """transformers' output for ids (B, T) or embedded tokens (B, T, D); adapted=False leaves out the adapters."""
        x = self.decoder.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        busy = any(v is not None and v is not False for v in other.values())
        if busy or x.shape[1] > LONGEST:  # decoding with a cache, other masks, long texts
            return self.library_forward(inputs_embeds=x, position_ids=position_ids, **other)
        b, t, d = x.shape
        shape = self._shape(b, t, position_ids)
        x, extra = x.reshape(b * t, d).float(), None
        for weights in self.layers:
            groups = [_stack_adapters(group if adapted else [], self.dtype) for group in weights.adapters.values()]
            x, extra = Layer.apply(x, extra, weights, shape, self.ops, *(matrix for pair in groups for matrix in pair))
        return BaseModelOutputWithPast(last_hidden_state=self.decoder.norm(x + extra).view(b, t, d))

    def _shape(self, b, t, position_ids):
        c, place = self.decoder.config, self.decoder.norm.weight.device
        width = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        positions = torch.arange(t, device=place)[None] if position_ids is None else position_ids
        cos, sin = (table.contiguous() for table in self.decoder.rotary_emb(torch.empty(0, device=place), positions))
        start = _segment_starts(positions.diff(dim=1) != 1).expand(b, t).to(torch.int32).contiguous()
        sizes = b, t, c.num_attention_heads, c.num_key_value_heads, width, width**-0.5
        return Shape(*sizes, cos, sin, start, self.dtype, *self.memory)


def _segment_starts(new):
    """Where each token's segment starts (B, T), from whether each token but the first starts one (B, T - 1)."""
    index = torch.arange(1, new.shape[1] + 1, device=new.device)
    return torch.nn.functional.pad(torch.where(new, index, 0).cummax(1).values, (1, 0))


def segment_arguments(segments, dtype=None, decoder=None):
    """Arguments for transformers to attend within segments (B, T): positions that restart in each; {} for None.

    transformers makes masks from them, unless the `decoder` takes the segments' lengths (`takes_lengths`).
    """
    if segments is None:
        return {}
    positions = torch.arange(segments.shape[1], device=segments.device) - _segment_starts(segments.diff(dim=1) != 0)
    lengths = decoder is not None and takes_lengths(decoder, dtype, segments.device)
    return segment_lengths(positions) if lengths else {"position_ids": positions}


def supports_decoder(decoder):
    """Whether `FastDecoder` can run a decoder: of these classes alone; others that look alike differ."""
    known, c = type(decoder).__name__ in ("LlamaModel", "MistralModel", "Qwen2Model"), decoder.config
    own = [p for n, p in decoder.named_parameters() if ".layers" in f".{n}" and "lora_" not in n]
    usual = known and c.hidden_act == "silu" and not c.attention_dropout
    usual = usual and not any(p.requires_grad or not p.is_floating_point() for p in own)  # those in NF4 are of integers
    return usual and (getattr(c, "sliding_window", None) or LONGEST) >= LONGEST


def _freeze(layer, dtype):
    """The LayerWeights of a transformers layer, whose own weights become views of the stacked ones."""
    w, b, adapters = {}, {}, {}
    for group, names in GROUPS.items():
        modules = [getattr(layer.self_attn if group in ("qkv", "out") else layer.mlp, name) for name in names]
        linears = [m.get_base_layer() if hasattr(m, "get_base_layer") else m for m in modules]
        w[group] = torch.cat([m.weight.data.to(dtype) for m in linears])
        b[group] = None if linears[0].bias is None else torch.cat([m.bias.data.to(dtype) for m in linears])
        for linear, view in zip(linears, w[group].split([len(m.weight) for m in linears]), strict=True):
            linear.weight.data = view
        made = [[m.lora_A, m.lora_B, m.scaling] if "default" in getattr(m, "lora_A", {}) else None for m in modules]
        pairs = zip(modules, made, strict=True)
        adapters[group] = [(m.out_features, a and [part["default"] for part in a]) for m, a in pairs]
    norms = layer.input_layernorm, layer.post_attention_layernorm
    return LayerWeights(*(norm.weight.data.to(dtype) for norm in norms), norms[0].variance_epsilon, w, b, adapters)


def _stack_adapters(group, dtype):
    """A group's adapters as one pair: A (R, in) stacked, B (out, R) block-diagonal and scaled; or (None, None)."""
    trained = [adapter[0].weight for _, adapter in group if adapter]
    if not trained:
        return None, None
    a = torch.cat(trained)
    blocks = (m[1].weight * m[2] if m else a.new_zeros(width, 0) for width, m in group)
    return a.to(dtype), torch.block_diag(*blocks).to(dtype)
