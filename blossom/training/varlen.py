"""Attention within segments on a GPU by torch's variable-length flash attention, without a (T, T) mask.

Importing this module gives transformers' "sdpa" attention a second way, taken when a forward pass is given `cu_seq_lens_q`.
"""

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # whose layers pass `cu_seq_lens_q` on to their attention


def takes_lengths(decoder, dtype, device):
    """Whether `attend_lengths` serves: on CUDA, in half precision, in a known decoder without a sliding window."""
    c, half = decoder.config, dtype in (torch.bfloat16, torch.float16)
    plain = c._attn_implementation == "sdpa" and not getattr(c, "sliding_window", None)
    return device.type == "cuda" and half and plain and c.model_type in FAMILIES


def segment_lengths(positions):
    """Arguments for transformers' decoder to attend within segments; positions (B, T) restart at 0 in each."""
    starts = (positions.flatten() == 0).nonzero().flatten()
    ends = torch.nn.functional.pad(starts, (0, 1), value=positions.numel()).to(torch.int32)
    given = {"position_ids": positions, "cu_seq_lens_q": ends, "max_length_q": int(positions.max()) + 1}
    return given | {"attention_mask": torch.ones_like(positions)}  # or the positions would become a mask (T, T)


def attend_lengths(module, query, key, value, attention_mask, scaling=None, cu_seq_lens_q=None, max_length_q=0, **other):
    """transformers' attention: query (B, H, T, h), key and value (B, K, T, h) -> ((B, T, H, h), None)."""
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **other)
    parts = [x.transpose(1, 2).flatten(0, 1).to(value.dtype) for x in (query, key, value)]  # (B*T, heads, h)
    lengths = (cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q)
    out = varlen_attn(*parts, *lengths, scale=scaling, window_size=(-1, 0), enable_gqa=True)
    return out.view(query.transpose(1, 2).shape), None


AttentionInterface.register("sdpa", attend_lengths)
