"""Bits per byte: how well a model predicts text, comparable between tokenizers."""

import itertools
import math

import torch
import torch.nn.functional as F

from blossom.text.corpus import utf8_bytes
from blossom.vocabulary.encoding import encode_lines


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
    start = start_token(tokenizer)
    return tokenizer.eos_token_id if start == tokenizer.bos_token_id != tokenizer.eos_token_id else None


def bits_per_byte(model, tokenizer, lines, batch_tokens=4096):
    """Bits that a model needs for one byte of text, each line a document (`document_nats`); lower is better."""
    return float(document_nats(model, tokenizer, lines, batch_tokens).sum()) / math.log(2) / utf8_bytes(lines)


def document_nats(model, tokenizer, lines, batch_tokens=4096, seen=None):
    """Nats that a model needs for each line: (N,) float64, the sum of -ln p(token | start, tokens before).

    Each line is a document that begins with `start_token`. A line longer than the model's context is measured in pieces.

    batch_tokens  most tokens of a forward pass, padding included
    seen          called after each pass with the numbers of its lines (B,) and a mask of the tokens read (B, T)
    """
    if not lines:
        raise ValueError("bits per byte: no lines to measure")
    was_training, _ = model.training, model.eval()
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    start, longest = start_token(tokenizer), min(model.config.max_position_embeddings, 2048) - 1
    encoded = encode_lines(tokenizer, lines)
    pieces = [(n, [start, *ids[i : i + longest]]) for n, ids in enumerate(encoded) for i in range(0, len(ids), longest)]
    owners, documents = zip(*sorted(pieces, key=lambda piece: len(piece[1])), strict=True)
    nats, done = torch.zeros(len(lines), dtype=torch.float64), 0
    for ids, labels in _batches(documents, batch_tokens):
        own, read = torch.tensor(owners[done : done + len(ids)]), labels[:, 1:] != -100
        nats.index_add_(0, own.repeat_interleave(read.sum(1)), _token_nats(causal, ids, labels).double().cpu())
        done += len(ids)
        if seen:
            seen(own.tolist(), read)
    model.train(was_training)
    return nats


def measure_bits(model, tokenizer, texts):
    """Bits per byte of several texts: dict name -> lines becomes dict name -> float."""
    return {name: bits_per_byte(model, tokenizer, lines) for name, lines in texts.items()}


def sum_nats(causal, ids, labels, **arguments):
    """Sum of -ln p(label | tokens before) over a batch, with log-softmax in float32.

    causal       a causal language model of transformers
    ids, labels  (B, T), labels not shifted; -100 is not counted
    arguments    attention_mask and position_ids for the decoder; not needed if all padding is at the end
    """
    return _token_nats(causal, ids, labels, **arguments).sum(dtype=torch.float64).item()


@torch.no_grad()
def _token_nats(causal, ids, labels, **arguments):
    (hidden, targets), head = _hidden_states(causal, ids, labels, **arguments), causal.get_output_embeddings()
    count, missing = len(targets), -len(hidden) % 64
    hidden, targets = F.pad(hidden, (0, 0, 0, missing)), F.pad(targets, (0, missing), value=-100)
    pieces = zip(hidden.split(512), targets.split(512), strict=True)  # 512 tokens at a time: their logits are large
    return torch.cat([F.cross_entropy(head(h).float(), t, reduction="none") for h, t in pieces])[:count]


@torch.no_grad()
def collect_states(model, documents, batch_tokens=4096):
    """The last hidden states that predict the tokens of some documents: (N, D) float32, on the CPU.

    documents  lists of ids, each beginning with `start_token`
    """
    batches = _batches(sorted(documents, key=len), batch_tokens)
    return torch.cat([_hidden_states(model, *batch)[0].float().cpu() for batch in batches])


def _hidden_states(causal, ids, labels, **arguments):
    """The last hidden states (N, D) that predict the labelled tokens of a batch, and their labels (N,)."""
    ids, labels = (x.to(causal.get_input_embeddings().weight.device) for x in (ids, labels[:, 1:]))
    labelled = labels != -100
    states = causal.get_decoder()(input_ids=ids[:, :-1], use_cache=False, **arguments).last_hidden_state
    return states[labelled], labels[labelled]


def _batches(documents, batch_tokens):
    """Padded (ids, labels), each (B, T), of sorted documents; at most `batch_tokens` tokens, or one document.

    Widths are multiples of 32, since every new shape of a matmul costs a compilation on CPU.
    """
    for width, alike in itertools.groupby(documents, lambda d: -(-(len(d) - 1) // 32) * 32 + 1):
        alike, count = list(alike), max(1, batch_tokens // width)
        for some in (alike[i : i + count] for i in range(0, len(alike), count)):
            pads = [width - len(d) for d in some]
            yield tuple(torch.tensor([d + [pad] * n for d, n in zip(some, pads, strict=True)]) for pad in (0, -100))
