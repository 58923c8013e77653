"""lm-eval's model, computing every shared token once.

The choices of an item share its context, and the items of a task share the template's first words. lm-eval feeds each
(context, choice) pair by itself; here all pairs of a task become the prefix trees of `blossom.benchmark.trees`.
"""

import logging
import sys
import warnings

import psutil
import torch
from tqdm import tqdm

from blossom.benchmark.trees import forests, node_paths, pair_cost, takes_trees, tree_logits, trees
from blossom.models.bits import start_token

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lm_eval.models.huggingface import HFLM

logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of what is meant here: a model that is already loaded


class SharedPrefixLM(HFLM):
    """An lm-eval model made of a loaded one; only the way log-likelihoods are computed differs from HFLM.

    model, tokenizer  a causal language model in eval mode and its tokenizer
    tokens            most tokens of one forward pass, 0 fits them to the memory; a single longer item still goes in one
    truncated         contexts that were cut on the left because they did not fit the model, as lm-eval cuts them
    read, lm_evals    tokens that choices took here so far, and that they take when each is read by itself, as lm-eval does
    """

    def __init__(self, model, tokenizer, tokens=0):
        tokens = tokens or fitting_tokens(model)
        start = start_token(tokenizer)  # what a choice without a context is read after
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=max(1, tokens // 64), prefix_token_id=start)
        self.tokens, self.truncated = tokens, set()
        self.read = self.lm_evals = 0
        self.shares, self.pair = takes_trees(model), pair_cost(model)
        self.stream = sys.stderr  # lm-eval's own bars are silenced later

    def _loglikelihood_tokens(self, requests, disable_tqdm=False, override_bs=None):
        """[(log-likelihood, is it the greedy continuation?)] of ((context, choice), context ids, choice ids) requests."""
        paths, choices = [], []
        for (context, choice), before, after in requests:
            if not after or len(after) > self.max_length:
                raise ValueError(
                    f"choice {choice[:40]!r} has {len(after)} tokens; expected 1 to {self.max_length}, the model's context"
                )
            if len(before) + len(after) > self.max_length + 1:
                self.truncated.add(context)
            paths.append((before + after)[-(self.max_length + 1) :][:-1])  # the last token is predicted, never read
            choices.append(after)
        self.lm_evals += sum(map(len, paths))
        if not self._shares(paths):
            self.read += sum(map(len, paths))
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        answers = [None] * len(requests)
        with tqdm(total=len(requests), unit="choice", file=self.stream, delay=5, disable=disable_tqdm) as bar:
            for forest in forests(trees(paths, self.tokens, self.pair), self.tokens):
                self.read += sum(len(tree.ids) for tree in forest)
                for i, answer in self._score(forest, choices):
                    answers[i] = answer
                    bar.update()
        return answers

    def _shares(self, paths):
        """Do trees give these sequences' log-likelihoods? An attention window narrower than one would hide ancestors."""
        window = getattr(self.model.config, "sliding_window", None)
        return self.shares and (not window or max(map(len, paths), default=0) <= window)

    def count(self, requests):
        """(tokens lm-eval would read, tokens read here, the first pass's trees) for lm-eval's requests of one task."""
        pairs = [
            self._encode_pair(*request.args) if request.args[0] else self._start(request.args[1]) for request in requests
        ]
        read = [(before + after)[-(self.max_length + 1) :][:-1] for before, after in pairs]
        grown = list(trees(read, self.tokens if self._shares(read) else 1, self.pair))
        return sum(map(len, read)), sum(len(tree.ids) for tree in grown), next(forests(grown, self.tokens))

    def _start(self, choice):
        return [self.prefix_token_id], self.tok_encode(choice, add_special_tokens=False)

    @torch.no_grad()
    def _score(self, forest, choices):
        """(number, (log-likelihood, greedy?)) of each sequence of some trees, computed in one pass."""
        numbers = [i for tree in forest for i in tree.sequences]
        ends = [path[-len(choices[i]) :] for i, path in zip(numbers, node_paths(forest), strict=True)]
        nodes = sorted({node for end in ends for node in end})  # where a choice's token is predicted; the head sees these
        place = {node: n for n, node in enumerate(nodes)}
        logits = tree_logits(self.model, forest, nodes)  # (N, V)
        rows = torch.tensor([place[node] for end in ends for node in end], device=logits.device)
        targets = torch.tensor([t for i in numbers for t in choices[i]], device=logits.device)
        total, best = _logsumexp_and_argmax(logits)
        chosen = (logits[rows, targets].float() - total[rows]).cpu()
        greedy = (best[rows] == targets).cpu()
        parts = zip(*(values.split([len(end) for end in ends]) for values in (chosen, greedy)), strict=True)
        return zip(numbers, [(p.sum().item(), bool(g.all())) for p, g in parts], strict=True)

    def generate_until(self, requests, disable_tqdm=False):
        """As HFLM, with the contexts that do not fit counted and more answers written at a time."""
        for request in requests:
            context, options = request.args
            room = self.max_length - options.get("max_gen_toks", self.max_gen_toks)
            if len(self.tok_encode(context)) > room:
                self.truncated.add(context)
        before = self.batch_size_per_gpu
        self.batch_size_per_gpu = max(before, min(32, self.tokens // 24))
        try:
            return super().generate_until(requests, disable_tqdm)
        finally:
            self.batch_size_per_gpu = before


def fitting_tokens(model, share=0.25, most=8192):
    """Tokens of a forward pass whose logits, in the model's dtype and in float32, take at most a quarter of the free memory.

    A processor gains nothing from more than 768.
    """
    place = model.get_input_embeddings().weight
    if place.is_cuda:
        free = torch.cuda.mem_get_info(place.device)[0]
    else:
        free, most = psutil.virtual_memory().available, 768
    fitting = int(free * share) // (place.shape[0] * (model.dtype.itemsize + 4))
    return max(64, min(most, fitting))


def _logsumexp_and_argmax(logits):
    """(N,) float32 log-sum-exp and (N,) argmax of rows, a chunk at a time: float32 copies of all rows would not fit.

    On a processor a chunk stays in its cache from one pass over it to the next.
    """
    chunks = logits.split(256 if logits.is_cuda else 8)
    pieces = [(c.float().logsumexp(-1), c.argmax(-1)) for c in chunks]
    return torch.cat([p[0] for p in pieces]), torch.cat([p[1] for p in pieces])
