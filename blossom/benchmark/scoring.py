"""lm-eval's model, computing every shared token once.

The choices of an item share its context, and the items of a task share the template's first words. lm-eval feeds each
(context, choice) pair by itself; here all pairs of a task become a few **prefix trees**, one forward pass a tree:

    문장 1과 문장 2는 … ─┬─ 문장 1: 비가 온다 … 정답: ─┬─ 예
                         │                              └─ 아니오
                         └─ 문장 1: 눈이 온다 … 정답: ─┬─ 예
                                                        └─ 아니오

A token attends to its ancestors in the tree alone and its position is its depth, so every branch is computed as if it
stood alone: the log-likelihoods are lm-eval's own, up to the rounding of sums taken in another order.
"""

import inspect
import logging
import sys
import warnings

import psutil
import torch
from tqdm import tqdm

from blossom import models

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
        start = models.start_token(tokenizer)  # what a choice without a context is read after
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=max(1, tokens // 64), prefix_token_id=start)
        self.tokens, self.truncated = tokens, set()
        self.read = self.lm_evals = 0
        self.shares = _takes_trees(model)
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
        if not self.shares:
            self.read += sum(map(len, paths))
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        answers = [None] * len(requests)
        with tqdm(total=len(requests), unit="choice", file=self.stream, delay=5, disable=disable_tqdm) as bar:
            for tree in trees(paths, self.tokens):
                self.read += len(tree.ids)
                for i, answer in zip(tree.sequences, self._score(tree, choices), strict=True):
                    answers[i] = answer
                bar.update(len(tree.sequences))
        return answers

    def count(self, requests):
        """(tokens lm-eval would read, tokens read here, the first tree) for lm-eval's requests of one task."""
        pairs = [
            self._encode_pair(*request.args) if request.args[0] else self._start(request.args[1]) for request in requests
        ]
        read = [(before + after)[-(self.max_length + 1) :][:-1] for before, after in pairs]
        grown = list(trees(read, self.tokens if self.shares else 1))
        return sum(map(len, read)), sum(len(tree.ids) for tree in grown), grown[0]

    def _start(self, choice):
        return [self.prefix_token_id], self.tok_encode(choice, add_special_tokens=False)

    @torch.no_grad()
    def _score(self, tree, choices):
        """(log-likelihood, greedy?) of each sequence of a tree, in the tree's order."""
        ends = [path[-len(choices[i]) :] for i, path in zip(tree.sequences, tree.paths, strict=True)]
        nodes = sorted({node for end in ends for node in end})  # where a choice's token is predicted; the head sees these
        place = {node: n for n, node in enumerate(nodes)}
        logits = tree_logits(self.model, tree, nodes)  # (N, V)
        rows = torch.tensor([place[node] for end in ends for node in end], device=logits.device)
        targets = torch.tensor([t for i in tree.sequences for t in choices[i]], device=logits.device)
        total, best = _logsumexp_and_argmax(logits)
        chosen = (logits[rows, targets].float() - total[rows]).cpu()
        greedy = (best[rows] == targets).cpu()
        lengths = [len(end) for end in ends]
        return [(p.sum().item(), bool(g.all())) for p, g in zip(chosen.split(lengths), greedy.split(lengths), strict=True)]

    def generate_until(self, requests, disable_tqdm=False):
        """As HFLM, with the contexts that do not fit counted."""
        for request in requests:
            context, options = request.args
            room = self.max_length - options.get("max_gen_toks", self.max_gen_toks)
            if len(self.tok_encode(context)) > room:
                self.truncated.add(context)
        return super().generate_until(requests, disable_tqdm)


def fitting_tokens(model, share=0.25, most=8192):
    """Tokens of a forward pass whose logits, in the model's dtype and in float32, take at most a quarter of the free memory.

    A processor gains nothing from more than 768: there the tree's mask is what grows.
    """
    place = model.get_input_embeddings().weight
    if place.is_cuda:
        free = torch.cuda.mem_get_info(place.device)[0]
    else:
        free, most = psutil.virtual_memory().available, 768
    fitting = int(free * share) // (place.shape[0] * (model.dtype.itemsize + 4))
    return max(64, min(most, fitting))


class Tree:
    """A prefix tree of token sequences, its nodes numbered so that a parent comes before its children.

    ids        token of each node
    depths     position of each node
    spans      (first node, node after the last, path to it): the runs of nodes that the sequences added
    sequences  which sequences it holds;  paths  the nodes of each, in order
    """

    def __init__(self):
        self.ids, self.depths, self.spans, self.sequences, self.paths = [], [], [], [], []

    def add(self, number, ids, shared):
        """Hang sequence `number` on the path of the one before, after their `shared` common tokens."""
        first, stem = len(self.ids), (self.paths[-1][:shared] if shared else [])
        self.ids += ids[shared:]
        self.depths += range(shared, len(ids))
        self.spans.append((first, len(self.ids), stem))
        self.sequences.append(number)
        self.paths.append(stem + list(range(first, len(self.ids))))

    def mask(self, device):
        """(T, T) bool: may the node of a row see the node of a column? Itself and its ancestors."""
        size = len(self.ids)
        allowed = torch.zeros(size, size, dtype=torch.bool)
        for first, last, stem in self.spans:
            allowed[first:last, stem] = True
            allowed[first:last, first:last] = torch.ones(last - first, last - first, dtype=torch.bool).tril()
        return allowed.to(device)


def trees(sequences, tokens):
    """Prefix trees that together hold all `sequences` (lists of ids), each of at most `tokens` nodes.

    Sorted, a sequence shares its longest prefix with the one before it, so one look back is enough.
    A sequence longer than `tokens` gets a tree of its own. Example: [1, 2, 3] and [1, 2, 4] -> one tree of 4 nodes.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i])
    tree, before = None, []
    for i in order:
        ids = sequences[i]
        shared = next((n for n, (a, b) in enumerate(zip(before, ids, strict=False)) if a != b), min(len(before), len(ids)))
        if tree is None or len(tree.ids) + len(ids) - shared > tokens:
            if tree is not None:
                yield tree
            tree, shared = Tree(), 0
        tree.add(i, ids, shared)
        before = ids
    if tree is not None:
        yield tree


def tree_logits(model, tree, nodes):
    """(N, V) logits at some `nodes` of a tree, in the model's dtype; one forward pass of batch size 1."""
    device = model.get_input_embeddings().weight.device
    ids = torch.tensor([tree.ids], device=device)  # (1, T)
    positions = torch.tensor([tree.depths], device=device)
    hidden = torch.zeros(len(tree.ids), len(tree.ids), dtype=model.dtype, device=device)
    hidden.masked_fill_(~tree.mask(device), torch.finfo(model.dtype).min)
    keep = torch.tensor(nodes, device=device)
    output = model(
        input_ids=ids, position_ids=positions, attention_mask=hidden[None, None], logits_to_keep=keep, use_cache=False
    )
    return output.logits[0]


def _logsumexp_and_argmax(logits, chunk=256):
    """(N,) float32 log-sum-exp and (N,) argmax of rows, a chunk at a time: float32 copies of all rows would not fit."""
    pieces = [(c.float().logsumexp(-1), c.argmax(-1)) for c in logits.split(chunk)]
    return torch.cat([p[0] for p in pieces]), torch.cat([p[1] for p in pieces])


@torch.no_grad()
def _takes_trees(model):
    """Does this model compute a branch of a tree as if it stood alone? Models that ignore positions or masks do not.

    Tried on two short branches: the second one's logits, in the tree and by itself.
    """
    arguments = inspect.signature(model.forward).parameters
    if not {"position_ids", "logits_to_keep"} <= set(arguments):
        return False
    stem, left, right = list(range(5, 25)), list(range(30, 50)), list(range(60, 80))
    ids = [i % model.get_input_embeddings().weight.shape[0] for i in (*stem, *left, *right)]
    tree, alone = Tree(), Tree()
    tree.add(0, ids[:40], 0)
    tree.add(1, ids[:20] + ids[40:], 20)
    alone.add(0, ids[:20] + ids[40:], 0)
    try:
        together = tree_logits(model, tree, tree.paths[1]).float().log_softmax(-1)
    except (TypeError, ValueError, RuntimeError):
        return False
    plain = model(input_ids=torch.tensor([alone.ids], device=together.device), use_cache=False).logits[0].float()
    difference = (together - plain.log_softmax(-1)).abs().mean().item()
    return difference < (1e-3 if model.dtype == torch.float32 else 0.1)
