"""Bits per byte: how well a model predicts text, comparable between tokenizers."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch.distributed.fsdp import FSDPModule

from blossom.text.corpus import utf8_bytes
from blossom.vocabulary import embeddings, encoding


def start_token(tokenizer):
    """The id that starts every document, as in the base model's pretraining.

    BOS if the tokenizer adds it to text; else `<|endoftext|>` (in SmolLM2 and Qwen, BOS and EOS mark turns of a chat); else
    BOS; else EOS. Raises ValueError when there is none of these.
    """
    bos, separator = tokenizer.bos_token_id, tokenizer.get_vocab().get("<|endoftext|>")
    if bos is not None and tokenizer("a").input_ids[:1] == [bos]:
        return bos
    start = next((id for id in (separator, bos, tokenizer.eos_token_id) if id is not None), None)
    if start is None:
        raise ValueError("the tokenizer has neither BOS nor EOS, so documents cannot be told apart; add an EOS token")
    return start


def end_token(tokenizer):
    """The id that ends every document: EOS where documents start with BOS, else None, since the next start ends them."""
    return tokenizer.eos_token_id if start_token(tokenizer) == tokenizer.bos_token_id != tokenizer.eos_token_id else None


def bits_per_byte(model, tokenizer, lines, batch_tokens=4096):
    """Bits that a model needs for one byte of text, each line a document (`document_nats`); lower is better."""
    return float(document_nats(model, tokenizer, lines, batch_tokens).sum()) / math.log(2) / utf8_bytes(lines)


def document_nats(model, tokenizer, lines, batch_tokens=4096, seen=None):
    """Nats that a model needs for each line: (N,) float64, the sum of -ln p(token | start, tokens before).

    Each line is a document that begins with `start_token`. A line with more bytes than the context has tokens is measured in
    parts (`cut_text`): the same for every tokenizer, since a vocabulary whose tokens hold more text would see more of it.
    Several processes share the passes (`share_passes`): all must call this.
    batch_tokens  most tokens of a forward pass, padding included
    seen          called after each pass with the numbers of its lines (B,) and a mask of the tokens read (B, T)
    """
    was_training, _ = model.training, model.eval()
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    start, config = start_token(tokenizer), model.config.get_text_config()
    longest = min(getattr(config, "max_position_embeddings", 2048), 2048) - 1 or 1
    parts = [(n, part) for n, line in enumerate(lines) for part in cut_text(line, longest)]
    encoded = encoding.encode_lines(tokenizer, [part for _, part in parts])
    known = [[i for i in ids if i != tokenizer.unk_token_id] for ids in encoded]
    texts = tokenizer.backend_tokenizer.decode_batch(known), lines  # compared without white space
    kept, whole = (sum(len("".join(t.replace("\ufffd", " ").split())) for t in some) for some in texts)
    if kept < 0.99 * whole:  # what is left out, or an unknown token, is cheap to predict, whatever text it stands for
        told = f"{1 - kept / whole:.0%} of the text is unknown to the tokenizer ({tokenizer.unk_token!r}, or left out)"
        raise ValueError(f"bits per byte: {told}; take a tokenizer with bytes")
    owned = zip(parts, encoded, strict=True)  # with a token that its tokenizer adds, a part may have more than `longest`
    pieces = [(n, [start, *ids[i : i + longest]]) for (n, _), ids in owned for i in range(0, len(ids), longest)]
    if not pieces:
        raise ValueError(f"bits per byte: no lines to measure ({len(lines)} were given, without a token in them)")
    owners, documents = zip(*sorted(pieces, key=lambda piece: len(piece[1])), strict=True)
    nats, done, (rank, world) = torch.zeros(len(lines), dtype=torch.float64), 0, share_passes(model)
    for number, (ids, labels) in enumerate(_batches(documents, batch_tokens, causal)):
        own, read = torch.tensor(owners[done : done + len(ids)]), labels[:, 1:] != -100
        done += len(ids)
        if number % world == rank:
            nats.index_add_(0, own.repeat_interleave(read.sum(1)), label_nats(causal, ids, labels).double().cpu())
            if seen:
                seen(own.tolist(), read)
    model.train(was_training)
    if world > 1:
        torch.distributed.all_reduce(nats := nats.to(causal.device))
    return nats.cpu()


def cut_text(text, most):
    """Yield the parts of a text, each of at most `most` bytes of UTF-8; a part begins with a space where there is one."""
    left = text.encode()
    while len(left) > most:
        end = left.rfind(b" ", most // 2, most + 1)
        part = left[: end if end > 0 else most].decode(errors="ignore") or left.decode()[0]  # without half a character
        yield part
        left = left[len(part.encode()) :]
    yield left.decode()


def share_passes(model):
    """(n, count): this process makes the n-th of `count` forward passes; (0, 1), all, where it shares weights (FSDP)."""
    alone = not torch.distributed.is_initialized() or any(isinstance(m, FSDPModule) for m in model.modules())
    return (0, 1) if alone else (torch.distributed.get_rank(), torch.distributed.get_world_size())


def measure_bits(model, tokenizer, texts):
    """Bits per byte of several texts: dict name -> lines becomes dict name -> float."""
    return {name: bits_per_byte(model, tokenizer, lines) for name, lines in texts.items()}


@torch.no_grad()
def label_nats(causal, ids, labels, **arguments):
    """-ln p(label | tokens before) of the labelled tokens of a batch (N,), with log-softmax in float32; ValueError for NaN.

    ids, labels  (B, T), labels not shifted; -100 is not counted
    arguments    position_ids (B, T - 1); not needed if all padding is at the end
    """
    arguments = {name: value.to(causal.device) for name, value in arguments.items()}
    if _known_scale(causal) is None:  # by the model's own logits, a row at a time, since they are large
        ids, labels = (x.to(causal.device) for x in (ids, labels[:, 1:]))
        rows = zip(*(x.split(1) for x in (ids[:, :-1], labels, *arguments.values())), strict=True)
        read = ((causal(i, use_cache=False, **dict(zip(arguments, more, strict=True))).logits, t) for i, t, *more in rows)
        nats = torch.cat([F.cross_entropy(x[t != -100].float(), t[t != -100], reduction="none") for x, t in read])
    else:
        (hidden, targets), head = _hidden_states(causal, ids, labels, **arguments), causal.get_output_embeddings()
        count, missing = len(targets), -len(hidden) % 64
        hidden, targets = F.pad(hidden, (0, 0, 0, missing)), F.pad(targets, (0, missing), value=-100)
        pieces = zip(hidden.split(512), targets.split(512), strict=True)  # 512 tokens at a time: their logits are large
        nats = torch.cat([F.cross_entropy(head(h).float(), t, reduction="none") for h, t in pieces])[:count]
    if not nats.isfinite().all():
        raise ValueError("the model gives NaN or Inf as a probability: look at config.json, learning_rate and precision")
    return nats


@torch.no_grad()
def collect_states(model, documents, batch_tokens=4096):
    """The last hidden states that predict the tokens of some documents: (N, D) float32, on the CPU.

    Scaled where the model scales logits; ValueError where its logits are not products of these and the output table.

    documents  lists of ids, each beginning with `start_token`
    """
    if _known_scale(model) is None:
        raise ValueError(f"row_init: calibrated and distilled do not fit {model.config.model_type}'s logits; take subword")
    batches = _batches(sorted(documents, key=len), batch_tokens, model)
    return torch.cat([_hidden_states(model, *batch)[0].float().cpu() for batch in batches])


def _hidden_states(causal, ids, labels, **arguments):
    """The last hidden states (N, D) that predict the labelled tokens of a batch, scaled, and their labels (N,)."""
    ids, labels = (x.to(causal.get_input_embeddings().weight.device) for x in (ids, labels[:, 1:]))
    labelled = labels != -100
    states = embeddings.find_decoder(causal)(input_ids=ids[:, :-1], use_cache=False, **arguments).last_hidden_state
    return states[labelled] * _known_scale(causal), labels[labelled]


def _known_scale(causal):
    if not hasattr(causal, "head_scale"):  # measured once
        causal.head_scale = measure_head(causal, causal.get_output_embeddings())
    return causal.head_scale


@torch.no_grad()
def measure_head(causal, product):
    """The factor c of logits = c * product(last hidden states); None where the logits have a cap, a bias or anything else.

    The states are replaced by random ones, small and large, so that caps show. ValueError for a model that reads ahead.
    """
    given, ids = [], torch.tensor([[0, 1], [0, 2]], device=causal.device)
    one, other = (logits := causal(input_ids=ids, use_cache=False).logits[:, 0]).float()
    if (one - other).norm() > max(1e-4, torch.finfo(logits.dtype).eps) * one.norm():  # NaN is told of later
        told = f"{causal.config.model_type} reads the tokens that it is to predict"
        raise ValueError(f"base_model: {told}; take a model that was trained to write text")

    def replace_states(_, __, out):
        states = out.last_hidden_state
        draws = torch.randn(states.shape, generator=torch.Generator().manual_seed(0)).to(states)
        sizes = product(draws).float().abs().amax(-1, keepdim=True) / torch.tensor([[1.0], [300.0]], device=states.device)
        out.last_hidden_state = (draws.float() / sizes).to(states)
        given.extend([states, product(out.last_hidden_state)])
        return out

    try:
        decoder, ids = embeddings.find_decoder(causal), ids[:1]
        alone = decoder(input_ids=ids, use_cache=False).last_hidden_state
        with decoder.register_forward_hook(replace_states):
            logits = causal(input_ids=ids, use_cache=False).logits.float()
        states, found = given
        scale = ((logits * found).sum() / found.float().square().sum()).item()
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):  # a decoder of another kind
        return None
    alike = are_alike(logits, scale * found.float(), found.dtype) and are_alike(alone, states, found.dtype)
    plain = alike and getattr(causal.get_output_embeddings(), "bias", None) is None
    return (1.0 if abs(scale - 1) < 1e-3 else scale) if plain else None


def are_alike(a, b, dtype):
    """Whether two (.., D) are equal to the rounding of a dtype."""
    return bool(((a.float() - b.float()).norm(dim=-1) <= max(1e-4, torch.finfo(dtype).eps) * a.float().norm(dim=-1)).all())


def pad_width(size, model):
    """The multiple of 32 from `size` on, since every new shape of a matmul costs a compilation; at most the context."""
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    return max(size, min(-(-size // 32) * 32, longest))


def _batches(documents, batch_tokens, model):
    """Padded (ids, labels), each (B, T), of sorted documents; at most `batch_tokens` tokens, or one document."""
    for width, alike in itertools.groupby(documents, lambda d: pad_width(len(d) - 1, model) + 1):
        alike, count = list(alike), max(1, batch_tokens // width)
        for some in (alike[i : i + count] for i in range(0, len(alike), count)):
            pads = [width - len(d) for d in some]
            yield tuple(torch.tensor([d + [pad] * n for d, n in zip(some, pads, strict=True)]) for pad in (0, -100))
