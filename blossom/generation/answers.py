"""Answers of a model on this machine or behind a server, with the paper's sampling: many at once, or one word by word."""

import codecs
import functools
import hashlib
import re
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from tqdm import tqdm
from transformers import GenerationConfig, LogitsProcessor, RepetitionPenaltyLogitsProcessor

from blossom.assets.registry import fetch_asset
from blossom.common import runs, stages
from blossom.instructions.templates import encode_conversation, find_template
from blossom.models.loading import load_model
from blossom.vocabulary.loading import load_tokenizer
from blossom.vocabulary.spelling import is_whole, token_bytes

SURROGATE = re.compile(b"\xed[\xa0-\xbf]")  # begins no character of UTF-8


def find_tuning(model):
    """The finished run of stage 04 whose model a model (asset, folder, hub id) is, or None."""
    made = fetch_asset(str(model)).resolve().parent
    return runs.read_run(made) if made.name == stages.TUNED and (made / "manifest.json").exists() else None


def stored_answers(name, prompts, template, store, dtype=None, batch_size=24, **settings):
    """{"answer", "tokens"} of each prompt, from `store` (a `ReplyStore`) or by the model `name` (asset, folder, id)."""
    folder = fetch_asset(str(name))
    load, tokenizer, answers = functools.cache(lambda: load_model(folder, dtype)), load_tokenizer(folder), {}
    request = {"model": runs.hash_unchanged(folder), "dtype": str(dtype), "sampler": 3} | settings
    request["template"] = find_template(template, tokenizer)  # its text, since a name may stand for another one later
    for batch in _batches(_encode_prompts(prompts, template, tokenizer), batch_size):
        asked = request | {"prompts": [prompts[i] for i in batch]}
        found = store.get(asked, list[str])
        if not found or not len(found["reply"]) == len(found.get("tokens", ())) == len(batch):
            words = {"batch_size": batch_size, "lengths": (tokens := [])} | settings
            found = {"reply": generate_answers(*load(), asked["prompts"], template, **words), "tokens": tokens}
            store.put(asked, **found)
        answers |= {i: {"answer": a, "tokens": n} for i, a, n in zip(batch, found["reply"], found["tokens"], strict=True)}
    return [answers[i] for i in range(len(prompts))]


@torch.no_grad()
def generate_answers(model, tokenizer, prompts, template, new_tokens=48, batch_size=24, seed=0, lengths=None, **sampling):
    """One answer to each prompt: list of str, without special tokens and outer white space.

    prompts     list of str; each becomes the user's message of `template` (a name of TEMPLATES, or "own")
    new_tokens  longest answer; it ends earlier at any special token
    lengths     a list that gets the number of tokens of each answer
    sampling    temperature, top_p, top_k and repetition_penalty of a `Sampler`

    Each answer has its own random numbers, from `seed` and the prompt: in float32 it does not depend on the other prompts or
    on `batch_size`; in bfloat16 it does, since rounding depends on the batch. Raises ValueError for an empty or long prompt.
    """
    encoded, answers, counts, spelled = _encode_prompts(prompts, template, tokenizer), {}, {}, token_bytes(tokenizer)
    for n, ids in enumerate(encoded):
        check_room(model, ids, new_tokens, f"prompt {n}")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ends = {"max_new_tokens": new_tokens, "pad_token_id": pad, "eos_token_id": stop_token_ids(model, tokenizer)}
    batch_size = 1 if model.config.model_type == "rwkv" else batch_size  # whose states would hold the padding
    for batch in tqdm(_batches(encoded, batch_size), unit="batch", delay=5):
        width = max(len(encoded[i]) for i in batch)  # padded on the left: all answers start at the same position
        ids = torch.tensor([[pad] * (width - len(encoded[i])) + encoded[i] for i in batch])  # (B, T)
        mask = torch.tensor([[n >= width - len(encoded[i]) for n in range(width)] for i in batch])
        ids, mask = (tensor.to(model.get_input_embeddings().weight.device) for tensor in (ids, mask.long()))
        seeds = [hashlib.sha256(f"{seed}\n{prompts[i]}".encode()).digest()[:8] for i in batch]
        sampler = Sampler(mask, [int.from_bytes(d, "big") >> 1 for d in seeds], spelled, **sampling)
        out = generate_ids(model, ids, mask, [sampler], **ends)[:, width:]
        answers |= zip(batch, tokenizer.batch_decode(out, skip_special_tokens=True), strict=True)
        ended = torch.isin(out, out.new_tensor(ends["eos_token_id"])).cumsum(-1)
        counts |= zip(batch, (ended == 0).sum(-1).tolist(), strict=True)
    if lengths is not None:
        lengths += [counts[i] for i in range(len(prompts))]
    return [answers[i].rstrip("\ufffd").strip() for i in range(len(prompts))]  # without a character that the limit cut


def generate_ids(model, ids, mask=None, processors=(), **settings):
    """`model.generate` for ids (B, T), greedy, without the model's own settings (beams, penalties) but its end token."""
    own, mask = model.generation_config, torch.ones_like(ids) if mask is None else mask
    settings = {"eos_token_id": own.eos_token_id, "do_sample": False, "use_cache": True} | settings
    model.generation_config = GenerationConfig()  # from which `generate` would take all that `settings` does not name
    try:
        config = GenerationConfig(**settings)
        return model.generate(ids, attention_mask=mask, generation_config=config, logits_processor=list(processors))
    finally:
        model.generation_config = own


def _encode_prompts(prompts, template, tokenizer):
    return [encode_conversation(template, [{"role": "user", "content": prompt}], tokenizer)[0] for prompt in prompts]


def _batches(encoded, batch_size):
    """Lists of positions of prompts of similar length, which need little padding."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def check_room(model, ids, new_tokens, name):
    """Raise ValueError, starting with `name`, when a prompt's tokens and `new_tokens` more do not fit the model."""
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None) or len(ids) + new_tokens
    if len(ids) + new_tokens > room:
        raise ValueError(f"{name}: {len(ids)} tokens and {new_tokens} new ones; the model has room for {room}")


def stop_token_ids(model, tokenizer):
    """Ids of the tokens that end an answer: all special ones except the unknown token."""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} - {tokenizer.unk_token_id}
    configured = model.generation_config.eos_token_id
    special |= set(configured if isinstance(configured, list) else [configured]) | {tokenizer.eos_token_id}
    return sorted(special - {None})


class Sampler(LogitsProcessor):
    """Chooses the next token of each row with the row's own random generator; defaults are the released Bllossom model's.

    mask, seeds         (B, T) 1 for prompt tokens, 0 for padding; B integers
    spelled             the bytes of each token (`token_bytes`); with them no token is chosen that breaks a UTF-8 character
    temperature         0 is greedy decoding
    top_p, top_k        keep the most probable tokens, at most `top_k` of them (0: all) with `top_p` of the probability
    repetition_penalty  divides the logits of tokens that the prompt or the answer has already (1: none); those that are part
                        of a character are spared, since all Korean letters share a few first bytes
    """

    def __init__(self, mask, seeds, spelled=(), temperature=0.2, top_p=0.9, top_k=40, repetition_penalty=1.1):
        self.mask, self.temperature, self.top_p, self.top_k = mask.bool(), temperature, top_p, top_k
        self.penalise = RepetitionPenaltyLogitsProcessor(repetition_penalty) if repetition_penalty != 1 else None
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.spelled, self.find_misfits = spelled, functools.cache(self._find_misfits)
        self.parts = [i for i, data in enumerate(spelled) if not is_whole(data)]

    def _find_misfits(self, begun):
        """(tokens,) True for those that cannot follow the bytes `begun` of a character; b"" where none is begun."""
        asked = self.parts if begun else range(len(self.spelled))
        misfits = torch.ones(len(self.spelled), dtype=torch.bool)
        misfits[[i for i in asked if is_whole(_finished(begun + self.spelled[i]))]] = False
        return misfits

    def __call__(self, input_ids, scores):
        """(B, V) scores whose largest in each row is that of the chosen token."""
        scores, known = scores.float(), len(self.spelled)  # the model may have more rows than the tokenizer has tokens
        if not scores.amax(-1).isfinite().all():
            raise ValueError("the model gives NaN or Inf as a logit: look at its config.json and precision")
        if self.penalise:
            seen, width = input_ids.clone(), self.mask.shape[1]
            prompt = seen[:, :width]
            prompt[~self.mask] = prompt[:, -1:].expand_as(prompt)[~self.mask]  # so that padding adds no penalty
            spared = scores[:, self.parts].clone()
            scores = self.penalise(seen, scores)
            scores[:, self.parts] = spared
        if known:
            ends = [b"".join(self.spelled[i] for i in row if i < known) for row in input_ids[:, -3:].tolist()]
            misfits = torch.stack([self.find_misfits(end[len(_finished(end)) :]) for end in ends]).to(scores.device)
            scores = torch.cat([scores[:, :known].masked_fill(misfits, -torch.inf), scores[:, known:]], 1)
        if self.temperature == 0:
            return scores
        kept = min(self.top_k or scores.shape[1], scores.shape[1])
        logits, tokens = (scores / self.temperature).topk(kept)  # (B, K), most probable first
        share = logits.softmax(-1)
        beyond = share.cumsum(-1) - share >= self.top_p  # the token that reaches top_p is kept
        beyond[:, 0] = False
        # Gumbel noise added to logits makes their argmax a sample of the softmax
        noise = torch.stack([-torch.empty(kept).exponential_(generator=g).log() for g in self.generators])
        best = (logits.masked_fill(beyond, -torch.inf) + noise.to(logits.device)).argmax(-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens.gather(1, best), 0.0)


def _finished(data):
    """Bytes without those at the end that begin a character of UTF-8 and do not end it."""
    marked = SURROGATE.sub(b"\xff\xff", data)  # which Python's decoder would wait for
    return data[: codecs.utf_8_decode(marked, "ignore", False)[1]]


def parse_addresses(served, names):
    """Parse entries "name@url" as {name: url}; ValueError for another form or a name that is not in `names`."""
    found = {}
    for entry in served:
        name, _, url = entry.rpartition("@")
        if name not in names or not url.startswith(("http://", "https://")):
            raise ValueError(f"served: expected name@http://…, a name of {', '.join(names)}; found {entry!r}")
        found[name] = url
    return found


def request_answers(server, prompts, new_tokens=48, seed=0, parallel=8, **sampling):
    """One answer of a `ChatServer`'s model to each prompt, maybe cut at `new_tokens`: list of str, "" for a refused prompt.

    Raises RuntimeError without any answer, without budget, and when the server fails.
    """
    settings = sampling | {"max_tokens": new_tokens, "seed": seed}
    requests = [server.make_request([{"role": "user", "content": prompt}], **settings) for prompt in prompts]
    fetch = functools.partial(server.fetch, whole=False)
    found = [fetch(request) for request in requests[:1]]  # the first alone, to find out which settings the server takes
    with ThreadPoolExecutor(parallel) as pool:
        found += pool.map(fetch, requests[1:])
    missing, why = found.count(None), server.last_error or "the budget is used up"
    if missing == len(found) or missing and (server.gave_up or "budget used up" in server.failures):
        raise RuntimeError(f"{server.called}: {server.url} gave no answer to {missing} prompts ({why})")
    if missing:
        print(f"{server.name}: {missing} prompts count as answered with nothing: {why}")
    print(f"{server.name}: {sum(f['cut'] for f in found if f)} of {len(found)} answers end at the limit of tokens")
    return [f["reply"] if f else "" for f in found]


def stream_answer(model, tokenizer, messages, template="own", new_tokens=200, seed=0, **sampling):
    """Generate the answer to a conversation; yield str as soon as characters are complete.

    messages  list of {"role", "content"}, a user's last, perhaps with broken bytes; the other words as of `generate_answers`
    """
    if messages and messages[-1].get("role") != "user":
        raise ValueError(f"messages: expected a user's message last, found role {messages[-1].get('role')!r}")
    messages = [m | {"content": (m.get("content") or "").encode(errors="replace").decode()} for m in messages]
    ids, _ = encode_conversation(template, messages, tokenizer)
    check_room(model, ids, new_tokens, "messages")
    sampler = Sampler(torch.ones(1, len(ids)), [seed], token_bytes(tokenizer), **sampling)
    return decode_stream(_generate_tokens(model, ids, stop_token_ids(model, tokenizer), new_tokens, sampler), tokenizer)


@torch.no_grad()
def _generate_tokens(model, ids, stops, most, sampler):
    """Yield the ids of an answer one by one; the key-value cache holds the earlier tokens, or all are read again."""
    ids = unread = torch.tensor([ids], device=model.get_input_embeddings().weight.device)  # (1, T)
    cache = None
    for _ in range(most):
        out = model(input_ids=unread, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = getattr(out, "past_key_values", None)  # Mamba and RWKV have none
        chosen = sampler(ids, out.logits[:, -1]).argmax(-1, keepdim=True)  # (1, 1)
        if chosen.item() in stops:
            return
        yield chosen.item()
        ids = torch.cat([ids, chosen], -1)
        unread = ids if cache is None else chosen


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
