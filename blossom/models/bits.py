"""Bits per byte: how surely a model predicts text, comparable between tokenizers."""

import itertools
import math

import torch
import torch.nn.functional as F

from blossom.text.corpus import utf8_bytes


def start_token(tokenizer):
    """The id that a document is read after, the one the base saw there when it was pretrained.

    BOS where the tokenizer puts one before text by itself; else `<|endoftext|>` where there is one (SmolLM2, Qwen: BOS
    and EOS of their chat models mark turns, not documents); else BOS; else EOS. Packing and `bits_per_byte` share it.
    Raises ValueError when there is none of these.
    """
    bos, separator = tokenizer.bos_token_id, tokenizer.get_vocab().get("<|endoftext|>")
    if bos is not None and tokenizer("a").input_ids[:1] == [bos]:
        return bos
    start = next((id for id in (separator, bos, tokenizer.eos_token_id) if id is not None), None)
    if start is None:
        raise ValueError("the tokenizer has neither BOS nor EOS, so documents cannot be told apart; add an EOS token")
    return start


def end_token(tokenizer):
    """The id that ends a document: EOS where documents begin with a BOS of their own, else None (the next start tells)."""
    start = start_token(tokenizer)
    return tokenizer.eos_token_id if start == tokenizer.bos_token_id != tokenizer.eos_token_id else None


@torch.no_grad()
def bits_per_byte(model, tokenizer, lines, batch_tokens=4096):
    """How many bits the model needs for one byte of text: comparable between tokenizers, lower is better.

    Each line is a document of its own: the model sees `start_token` and then predicts every token of the line from
    those before it; the start itself and the end are not counted.

        bits/byte = sum of -ln p(token | start, tokens before) over all lines / ln 2 / UTF-8 bytes of all lines

    lines         non-empty list of str; a line of more tokens than the model has positions goes in pieces
    batch_tokens  most tokens (with padding) of a forward pass
    return        float; log-softmax in float32 whatever the model's dtype

    Raises ValueError when there are no lines.
    """
    if not lines:
        raise ValueError("bits_per_byte: no lines to measure")
    was_training, _ = model.training, model.eval()
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    start, longest = start_token(tokenizer), min(model.config.max_position_embeddings, 2048) - 1
    encoded = tokenizer(list(lines), add_special_tokens=False).input_ids
    documents = [[start, *ids[i : i + longest]] for ids in encoded for i in range(0, len(ids), longest)]
    documents.sort(key=len)
    nats = sum(_nats(causal, *batch) for batch in _batches(documents, batch_tokens))
    model.train(was_training)
    return nats / math.log(2) / utf8_bytes(lines)


def measure_bits(model, tokenizer, texts):
    """Bits per byte of several texts: dict name -> lines becomes dict name -> float."""
    return {name: bits_per_byte(model, tokenizer, lines) for name, lines in texts.items()}


def _batches(documents, batch_tokens):
    """Groups of documents of like length, with the length to pad them to, at most `batch_tokens` in all (one document at
    least). Few different sizes: on CPU every new size of a product costs a compilation."""
    for width, alike in itertools.groupby(documents, lambda d: -(-(len(d) - 1) // 32) * 32 + 1):
        alike = list(alike)
        count = max(1, batch_tokens // width)
        yield from ((width, alike[i : i + count]) for i in range(0, len(alike), count))


def _hidden_states(causal, width, documents):
    """The last layer's states of a batch of documents, (N, D), and the token that follows each, (N,). Padding is on the
    right, where causal attention keeps it from every real token, so no mask is needed."""
    place = causal.get_input_embeddings().weight.device
    ids = torch.tensor([d + [0] * (width - len(d)) for d in documents], device=place)  # (B, T)
    length = torch.tensor([len(d) for d in documents], device=place)
    real = torch.arange(1, width, device=place) < length[:, None]  # (B, T-1): is there a token to predict?
    return causal.get_decoder()(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[real], ids[:, 1:][real]


def _nats(causal, width, documents, chunk=512):
    """Sum of -ln p over a batch of documents, their first tokens given; logits are computed `chunk` tokens at a time."""
    (hidden, targets), head = _hidden_states(causal, width, documents), causal.get_output_embeddings()
    over = -len(hidden) % 64
    hidden, targets = F.pad(hidden, (0, 0, 0, over)), F.pad(targets, (0, over), value=-100)  # -100: not counted
    pieces = zip(hidden.split(chunk), targets.split(chunk), strict=True)
    return sum(F.cross_entropy(head(h).float(), t, reduction="sum").item() for h, t in pieces)


@torch.no_grad()
def collect_states(model, documents, batch_tokens=4096):
    """The hidden states of the last layer, and the token that follows each: (N, D) float32 and (N,), on the CPU.

    documents  lists of ids, each beginning with `start_token`
    """
    batches = _batches(sorted(documents, key=len), batch_tokens)
    states, targets = zip(*(_hidden_states(model, *batch) for batch in batches), strict=True)
    return torch.cat([s.float().cpu() for s in states]), torch.cat(targets).cpu()
