"""lm-eval's Hugging Face model; tokens that sequences share are computed once, in a trie; equal results up to rounding."""

import copy
import logging
import sys
import warnings
from itertools import chain
from os.path import commonprefix

import numpy as np
import torch
from tqdm import tqdm

from blossom.common.paths import free_memory
from blossom.models.bits import start_token

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lm_eval.models.huggingface import HFLM

logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns that the model is already loaded, which is meant


class SharedPrefixLM(HFLM):
    """An lm-eval model made of a loaded model; only `loglikelihood` is computed in another way than in HFLM.

    tokens  most tokens of a forward pass; 0: as many as fit into memory. A longer sequence gets a pass of its own
    """

    def __init__(self, model, tokenizer, tokens=0):
        start = start_token(tokenizer)  # a choice without a context follows it
        plain = copy.copy(tokenizer)
        plain.split_special_tokens = True  # "</s>" in a question is text
        super().__init__(pretrained=model, tokenizer=plain, batch_size=16, prefix_token_id=start)
        self.tokens, self.shares = tokens or _fitting_tokens(model), _takes_tries(model)  # else HFLM scores it
        self.stream = sys.stderr  # of our progress bar; lm-eval's own bars may be silenced later

    def _loglikelihood_tokens(self, requests, disable_tqdm=False, override_bs=None):
        """[(log-likelihood, is it the greedy continuation?)] of ((context, choice), context ids, choice ids) requests."""
        for (_, choice), _, ids in requests:
            if not ids or len(ids) > self.max_length:
                raise ValueError(f"choice {choice[:40]!r} has {len(ids)} tokens; expected 1 to {self.max_length}")
        sequences = [(before + after)[-(self.max_length + 1) :][:-1] for _, before, after in requests]
        config, names = self.model.config.get_text_config(), ("sliding_window", "window_size", "attention_chunk_size")
        hides = (width for name in names if isinstance(width := getattr(config, name, None), int))
        window = min(hides, default=None)  # hides far tokens; a trie's mask would not, or would those of another branch
        if not self.shares or (window and max(map(len, sequences), default=0) > window):
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        answers = [None] * len(requests)
        with tqdm(total=len(requests), unit="choice", file=self.stream, delay=20, disable=disable_tqdm) as bar:
            for numbers in _passes(sequences, min(self.tokens, window or self.tokens)):
                found = self._score([sequences[n] for n in numbers], [requests[n][2] for n in numbers])
                for n, answer in zip(numbers, found, strict=True):
                    answers[n] = answer
                bar.update(len(numbers))
        return answers

    @torch.no_grad()
    def _score(self, sequences, choices):
        ids, parents, paths = build_trie(sequences)
        ends = [path[-len(choice) :] for path, choice in zip(paths, choices, strict=True)]
        nodes, rows = np.unique(np.concatenate(ends), return_inverse=True)  # the tokens that choices are predicted from
        logits = trie_logits(self.model, ids, parents, nodes)  # (N, V)
        chunk = 256 if logits.is_cuda else 8  # a float32 copy of all rows would not fit
        floats = (some.float() for some in logits.split(chunk))
        sums, most = (torch.cat(x) for x in zip(*((f.logsumexp(-1), f.amax(-1)) for f in floats), strict=True))
        rows, targets = (torch.tensor(x, device=logits.device) for x in (rows, list(chain(*choices))))
        found = logits[rows, targets].float()
        parts = (x.split([len(choice) for choice in choices]) for x in (found - sums[rows], found == most[rows]))
        return [(likelihood.sum().item(), bool(same.all())) for likelihood, same in zip(*parts, strict=True)]


def build_trie(sequences):
    """The trie of some lists of token ids: (token of each node, its parent or -1, and the nodes of each sequence)."""
    ids, parents, paths, known = [], [], [], {}
    for sequence in sequences:
        node, path = -1, []
        for token in sequence:
            parent, node = node, known.setdefault((node, token), len(ids))
            if node == len(ids):
                ids.append(token)
                parents.append(parent)
            path.append(node)
        paths.append(path)
    return ids, parents, paths


def _passes(sequences, tokens):
    """Yield lists of indices of sequences whose trie has at most `tokens` nodes; sorted neighbours share most tokens."""
    numbers, size, last = [], 0, []
    for n in sorted(range(len(sequences)), key=sequences.__getitem__):
        new = len(sequences[n]) - len(commonprefix([sequences[n], last]))
        if numbers and size + new > tokens:
            yield numbers
            numbers, size, new = [], 0, len(sequences[n])
        numbers.append(n)
        size, last = size + new, sequences[n]
    if numbers:
        yield numbers


def trie_logits(model, ids, parents, nodes):
    """(N, V) logits at the N `nodes` of a trie, in the model's dtype, from one forward pass."""
    device = model.get_input_embeddings().weight.device
    allowed = torch.eye(len(ids), dtype=torch.bool)
    for node, parent in enumerate(parents):  # a parent comes before its children
        if parent >= 0:
            allowed[node] |= allowed[parent]
    mask = torch.zeros(allowed.shape, dtype=model.dtype).masked_fill_(~allowed, torch.finfo(model.dtype).min)
    return model(
        input_ids=torch.tensor([ids], device=device),
        position_ids=(allowed.sum(1) - 1)[None].to(device),  # as many tokens stand before it in its sequence
        attention_mask=mask[None, None].to(device),  # (1, 1, T, T)
        logits_to_keep=torch.tensor(nodes, device=device),
        use_cache=False,
    ).logits[0]


@torch.no_grad()
def _takes_tries(model):
    """Whether a branch gets the same logits in a trie as alone: not where the model ignores positions or masks."""
    vocab = model.get_input_embeddings().weight.shape[0]
    one, two = ([n % vocab for n in (*range(5, 25), *range(first, first + 20))] for first in (30, 60))
    ids, parents, paths = build_trie([one, two])
    alone = model(input_ids=torch.tensor([two], device=model.device), use_cache=False).logits[0].float().log_softmax(-1)
    try:
        difference = trie_logits(model, ids, parents, paths[1]).float().log_softmax(-1) - alone
    except (TypeError, ValueError, RuntimeError):  # an argument that the model does not take, or other rows than asked for
        return False
    return difference.abs().mean().item() < (1e-4 if model.dtype == torch.float32 else 0.1)


def _fitting_tokens(model):
    """Tokens whose logits, in the model's dtype and in float32, take at most a quarter of the free memory."""
    table = model.get_input_embeddings().weight
    free = torch.cuda.mem_get_info(table.device)[0] if table.is_cuda else free_memory()
    most = 8192 if table.is_cuda else 768  # a CPU gains nothing from more
    return max(64, min(most, free // 4 // (table.shape[0] * (model.dtype.itemsize + 4))))
