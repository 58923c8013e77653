"""A conversation with a model, whose answer is printed as it is generated."""

import codecs
import time

import torch

from blossom.generation.answers import Sampler, check_room, stop_token_ids
from blossom.instructions.templates import encode_conversation
from blossom.vocabulary.spelling import token_bytes


def stream_answer(model, tokenizer, messages, template="own", new_tokens=200, seed=0, **sampling):
    """Generate the answer to a conversation; yield str as soon as characters are complete.

    messages  list of {"role", "content"}, a user's last; `template`, `new_tokens` and `sampling` as in `generate_answers`
    Example: for piece in stream_answer(model, tokenizer, [{"role": "user", "content": "안녕?"}]): print(piece, end="")
    """
    if messages and messages[-1].get("role") != "user":
        raise ValueError(f"messages: expected a user's message last, found role {messages[-1].get('role')!r}")
    ids, _ = encode_conversation(template, messages, tokenizer)
    check_room(model, ids, new_tokens, "messages")
    sampler = Sampler(torch.ones(1, len(ids)), [seed], token_bytes(tokenizer), **sampling)
    return decode_stream(_generate_tokens(model, ids, stop_token_ids(model, tokenizer), new_tokens, sampler), tokenizer)


@torch.no_grad()
def _generate_tokens(model, ids, stops, most, sampler):
    """Yield the ids of an answer one by one; the key-value cache holds the earlier tokens."""
    ids = unread = torch.tensor([ids], device=model.get_input_embeddings().weight.device)  # (1, T)
    cache = None
    for _ in range(most):
        out = model(input_ids=unread, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        unread = sampler(ids, out.logits[:, -1]).argmax(-1, keepdim=True)  # (1, 1)
        if unread.item() in stops:
            return
        yield unread.item()
        ids = torch.cat([ids, unread], -1)


def time_steps(model, tokenizer, text, steps=16):
    """Seconds of each of some steps of greedy decoding after `text`, one answer at a time: list of float."""
    ids = tokenizer(text).input_ids
    sampler = Sampler(torch.ones(1, len(ids)), [0], temperature=0.0, repetition_penalty=1.0)
    times = [time.perf_counter() for _ in _generate_tokens(model, ids, (), steps + 1, sampler)]
    return [after - before for before, after in zip(times, times[1:], strict=False)]


def decode_stream(ids, tokenizer):
    """Yield the text of an iterable of token ids, each character once it is complete, without special tokens.

    Bytes that never form a character are left out. Example: the three byte tokens of 먹 yield "먹" once, at the third.
    """
    spelled = token_bytes(tokenizer)
    decoder, begun = codecs.getincrementaldecoder("utf-8")(errors="ignore"), False
    for i in ids:
        text = decoder.decode(spelled[i]) if i < len(spelled) else ""  # the embedding has more rows than the tokenizer
        text = text if begun else text.lstrip()
        if text:
            begun = True
            yield text
