"""Prefix trees: sequences that begin alike, computed by a model without reading what they share twice.

    문장 1과 문장 2는 … ─┬─ 문장 1: 비가 온다 … 정답: ─┬─ 예
                         │                              └─ 아니오
                         └─ 문장 1: 눈이 온다 … 정답: ─┬─ 예
                                                        └─ 아니오

A token attends to its ancestors in the tree alone and its position is its depth, so every branch is computed as if it
stood alone: the log-likelihoods are lm-eval's own, up to the rounding of sums taken in another order. Matrix products see
the tokens of all trees of a pass at once, attention goes from tree to tree.
"""

import contextlib
import inspect
import itertools

import torch


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


def trees(sequences, tokens, pair=0.0):
    """Prefix trees that together hold all `sequences` (lists of ids), each of at most `tokens` nodes.

    pair  what a node costs more for each node of its tree, as attention compares them; a node by itself costs 1. Sharing a
          short template by all items of a task saves nodes and costs attention: the trees returned cost least together.

    Sorted, a sequence shares its longest prefix with the one before it, so one look back is enough.
    A sequence longer than `tokens` gets a tree of its own. Example: [1, 2, 3] and [1, 2, 4] -> one tree of 4 nodes.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i])
    ordered = [sequences[i] for i in order]
    shared = [0, *(_shared(one, other) for one, other in zip(ordered, ordered[1:], strict=False))]
    for first, last in _cheapest([len(ids) for ids in ordered], shared, tokens, pair):
        tree = Tree()
        for n in range(first, last):
            tree.add(order[n], ordered[n], shared[n] if n > first else 0)
        yield tree


def _shared(one, other):
    """Length of the longest common prefix of two lists."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _cheapest(lengths, shared, tokens, pair):
    """(first, after the last) of each run of sequences that becomes a tree: the cheapest runs, by dynamic programming."""
    count = len(lengths)
    least, ends = [0.0] * (count + 1), [count] * count
    for first in reversed(range(count)):
        size, best = lengths[first], None
        for last in range(first + 1, count + 1):
            cost = size * (1 + pair * size) + least[last]
            if best is None or cost < best:
                best, ends[first] = cost, last
            size += lengths[last] - shared[last] if last < count else 0
            if size > tokens:
                break
        least[first] = best
    first = 0
    while first < count:
        yield first, ends[first]
        first = ends[first]


def forests(grown, tokens):
    """Lists of trees of at most `tokens` nodes in all; a larger tree comes by itself."""
    forest, size = [], 0
    for tree in grown:
        if forest and size + len(tree.ids) > tokens:
            yield forest
            forest, size = [], 0
        forest.append(tree)
        size += len(tree.ids)
    if forest:
        yield forest


def pair_cost(model):
    """What comparing two tokens in attention costs, beside what one token costs in all matrix products but the head's."""
    config = model.config.get_text_config()
    table = model.get_input_embeddings().weight.numel()
    weights = sum(w.numel() for w in model.parameters()) - table * (1 if config.tie_word_embeddings else 2)
    return 2 * config.num_hidden_layers * config.hidden_size / max(weights, 1)


def _starts(forest):
    """Where each tree's nodes begin when they stand one after another, and where the last one's end."""
    return list(itertools.accumulate((len(tree.ids) for tree in forest), initial=0))


def node_paths(forest):
    """The nodes of each sequence of some trees that stand one after another."""
    return [
        [start + node for node in path] for start, tree in zip(_starts(forest), forest, strict=False) for path in tree.paths
    ]


def tree_logits(model, forest, nodes):
    """(N, V) logits at some `nodes` of trees that stand one after another, in the model's dtype; one forward pass."""
    device = model.get_input_embeddings().weight.device
    ids = torch.tensor([[id for tree in forest for id in tree.ids]], device=device)  # (1, T)
    positions = torch.tensor([[depth for tree in forest for depth in tree.depths]], device=device)
    masks = [_additive(tree.mask(device), model.dtype) for tree in forest]
    with _attending(model, _starts(forest), masks):
        keep = torch.tensor(nodes, device=device)
        return model(input_ids=ids, position_ids=positions, logits_to_keep=keep, use_cache=False).logits[0]


def _additive(allowed, dtype):
    """(1, 1, T, T) zeros where `allowed` (T, T), else the least number there is."""
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[None, None]


@contextlib.contextmanager
def _attending(model, starts, masks):
    """Within, the model's tokens attend inside their tree alone: transformers' SDPA, one tree after another."""
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    def attend(module, query, key, value, attention_mask, **options):
        parts = []  # of (1, heads, tokens, width); SDPA's answers are (1, tokens, heads, width)
        for first, last, mask in zip(starts, starts[1:], masks, strict=False):
            own = (states[:, :, first:last] for states in (query, key, value))
            parts.append(sdpa_attention_forward(module, *own, mask, **options)[0])
        return torch.cat(parts, dim=1), None

    before = model.config._attn_implementation
    AttentionInterface.register("trees", attend)
    model.set_attn_implementation("trees")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@torch.no_grad()
def takes_trees(model):
    """Does this model compute a branch of a tree as if it stood alone? Models that ignore positions or masks do not.

    Tried on two short branches beside another tree: the second one's logits, there and by itself.
    """
    arguments = inspect.signature(model.forward).parameters
    if not {"position_ids", "logits_to_keep"} <= set(arguments):
        return False
    stem, left, right = list(range(5, 25)), list(range(30, 50)), list(range(60, 80))
    ids = [i % model.get_input_embeddings().weight.shape[0] for i in (*stem, *left, *right)]
    other, tree = Tree(), Tree()
    other.add(0, ids[30:], 0)
    tree.add(0, ids[:40], 0)
    tree.add(1, ids[:20] + ids[40:], 20)
    try:
        together = tree_logits(model, [other, tree], node_paths([other, tree])[-1]).float().log_softmax(-1)
    except (TypeError, ValueError, RuntimeError):
        return False
    plain = model(input_ids=torch.tensor([ids[:20] + ids[40:]], device=together.device), use_cache=False).logits[0].float()
    difference = (together - plain.log_softmax(-1)).abs().mean().item()
    return difference < (1e-4 if model.dtype == torch.float32 else 0.1)
