"""Embedding tables of which some rows, all or none are trained; and cross-entropy that never holds all logits.

The frozen part stays in the working precision, the trained rows in float32. Logits are made a tile at a time
(some tokens by some of the vocabulary), turned into the gradient while still in the processor's cache, and dropped:
no (tokens, vocabulary) matrix ever exists, and no gradient of a frozen row is ever computed.
"""

import torch
import torch.nn.functional as F

from blossom.training import kernels

TILE = {"cpu": (512, 8192), "cuda": (4096, 32768)}  # tokens by vocabulary; on CPU a tile of bfloat16 is 8 MB


class Table:
    """One embedding table as its two parts.

    frozen   (first, D) in the working precision, or None when all rows are trained
    trained  (V - first, D) parameter, or None when no row is

    Both are looked up where they are used: FSDP puts another tensor into their place for every pass.
    """

    def __init__(self, module, dtype, sparse=False):
        self.sparse, self.dtype, self.first = sparse, dtype, 0
        frozen = learnt = None  # (module or dict of parameters, name)
        if hasattr(module, "token_adapter"):  # PEFT: some rows
            adapter = module.token_adapter
            learnt, frozen = (adapter.trainable_tokens_delta, "default"), (adapter.get_base_layer(), "weight")
            self.first, rows = adapter.token_indices["default"][0], len(frozen[0].weight)
            if list(adapter.token_indices["default"]) != list(range(self.first, rows)):
                raise ValueError("trained rows must be the last rows of the table")
        elif hasattr(module, "modules_to_save"):  # PEFT: the whole table, its original kept aside
            module.original_module.weight.data = module.original_module.weight.data.to(dtype)
            learnt = module.modules_to_save["default"], "weight"
        elif module.weight.requires_grad:
            learnt = module, "weight"
        else:
            frozen, self.first = (module, "weight"), len(module.weight)
        if frozen:
            frozen[0].weight.data = frozen[0].weight.data.to(dtype)
        self._frozen, self._learnt = frozen, learnt

    @property
    def frozen(self):
        return None if self._frozen is None else getattr(*self._frozen).detach()[: self.first]

    @property
    def trained(self):
        return None if self._learnt is None else getattr(*self._learnt)

    def embed(self, ids):
        """ids (..) -> rows (.., D) in the working precision."""
        if self.trained is None:
            return F.embedding(ids, self.frozen)
        if (
            self.frozen is None
        ):  # sparse when tied: the gradient of the rows seen, added to the head's dense one without a copy
            return F.embedding(ids, self.trained, sparse=self.sparse).to(self.dtype)
        new = F.embedding((ids - self.first).clamp(min=0), self.trained).to(self.dtype)
        old = F.embedding(ids.clamp(max=self.first - 1), self.frozen)
        return torch.where((ids >= self.first)[..., None], new, old)

    def logits(self, hidden):
        """hidden (.., D) -> (.., V), for decoding and measuring."""
        hidden = hidden.to(self.dtype)
        parts = [] if self.frozen is None else [hidden @ self.frozen.t()]
        if self.trained is not None:
            parts.append(hidden @ self.trained.to(self.dtype).t())
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    def loss(self, hidden, targets, soft=None):
        """Sum of -ln p(target) over hidden (N, D), targets (N,); a float32 scalar.

        soft   (N,) bool and (n, D): tokens whose target is not one token but what the base expects there, given by the
               base's last state; the sum has the cross-entropy between the two distributions for these
        """
        return Loss.apply(hidden, targets, self.trained, self, torch.is_grad_enabled(), self._expected(soft))

    def _expected(self, soft):
        """(where (N,), the base's expected output row there (n, D)): the sum over its vocabulary of p times row.

        That vector is all the loss needs: the cross-entropy with a distribution is linear in its logits.
        """
        if soft is None or not soft[0].any():
            return None
        where, states = soft
        with torch.no_grad():
            rows, columns = TILE[states.device.type]
            padded = _padded(states)
            expected = torch.empty(padded.shape, dtype=torch.float32, device=states.device)
            for h, e in zip(padded.split(rows), expected.split(rows), strict=True):
                s, gradient, _ = _exponentials(h, [(self.frozen, False)], columns)
                e.copy_(gradient.div_(s))
        return where, expected[: len(states)]


class Loss(torch.autograd.Function):
    """Cross-entropy by tiles: the gradient is made with the loss, so nothing of the size of the logits is kept."""

    @staticmethod
    def forward(ctx, hidden, targets, trained, table, learn, expected=None):
        dtrained = torch.zeros_like(trained) if learn and trained is not None and trained.requires_grad else None
        weight = trained.detach().to(table.dtype) if trained is not None else None
        parts = [
            (part, learn) for part, learn in ((table.frozen, False), (weight, dtrained is not None)) if part is not None
        ]
        rows, columns = TILE[hidden.device.type]
        chosen = _rows(parts, table.first, targets)
        if expected is not None:
            chosen = chosen.float().index_put((expected[0],), expected[1])
            targets = targets.masked_fill(expected[0], -1)
        count, (hidden, targets, chosen) = len(hidden), (_padded(x) for x in (hidden, targets, chosen))
        dhidden, losses = torch.empty_like(hidden), hidden.new_empty(len(hidden), dtype=torch.float32)
        for h, t, c, dh, loss in zip(*(x.split(rows) for x in (hidden, targets, chosen, dhidden, losses)), strict=True):
            loss.copy_(_tile_row(h, t, c, dh, dtrained, parts, table.first, columns))
        ctx.save_for_backward(dhidden[:count], dtrained)
        return losses[:count].sum()

    @staticmethod
    def backward(ctx, scale):
        dhidden, dtrained = ctx.saved_tensors
        return dhidden * scale.to(dhidden.dtype), None, None if dtrained is None else dtrained.mul_(scale), None, None, None


def _tile_row(h, targets, chosen, dh, dtrained, parts, first, columns):
    """Losses (n,) of some tokens h (n, D) whose targets have the rows `chosen` (n, D); writes their gradient into dh and
    adds the trained rows' to dtrained.

    With e = exp(logits) and s = their sum: loss = ln s - h . chosen; dh = (e @ W) / s - chosen. Dividing after the
    product saves a pass over e. No maximum is subtracted, since logits within (-60, 60) cannot overflow; where they
    lie outside, the work is done again with it.
    """
    s, gradient, kept = _exponentials(h, parts, columns)
    shift = torch.zeros_like(s)
    if not bool(((s > 1e-26) & (s < 1e26)).all()):
        shift = torch.stack([(h @ w.t()).amax(-1) for part, _ in parts for w in part.split(columns)]).amax(0)[:, None]
        s, gradient, kept = _exponentials(h, parts, columns, shift)
    dh.copy_(gradient.div_(s).sub_(chosen))
    if dtrained is not None:
        scaled = (h / s).to(h.dtype)
        for e, d in zip(kept, dtrained.split(columns), strict=True):
            d += e.t() @ scaled
        learnt = targets >= first
        dtrained.index_add_(0, targets[learnt] - first, h[learnt].to(dtrained.dtype), alpha=-1)
    logit = (h.float() * chosen).sum(-1)
    return (s.log() + shift).squeeze(1) - logit


def _padded(x, multiple=64):
    """x with rows of zeros up to a multiple: the library keeps a program for every size of product it has met, and a
    batch's labelled tokens are rarely as many as another's. A token of zeros adds nothing to any gradient."""
    return F.pad(x, (0, 0) * (x.dim() - 1) + (0, -len(x) % multiple))


def _exponentials(h, parts, columns, shift=None):
    """Over the vocabulary, tile by tile: sum of e (n, 1), e @ W (n, D), both float32, and the e of the parts that learn."""
    ops = kernels.quickest(h.dtype, h.device)
    s, gradient, kept = h.new_zeros(len(h), 1, dtype=torch.float32), h.new_zeros(h.shape, dtype=torch.float32), []
    for part, learn in parts:
        for w in part.split(columns):
            logits = h @ w.t()
            e, total = ops.exponentials(logits if shift is None else logits.sub_(shift))
            s += total
            gradient += e @ w
            kept += [e] if learn else []
    return s, gradient, kept


def _rows(parts, first, ids):
    """The embedding rows of some ids (n, D), from whichever part holds them."""
    if len(parts) == 1:
        return parts[0][0][ids]
    (frozen, _), (trained, _) = parts
    new = trained[(ids - first).clamp(min=0)]
    return torch.where((ids >= first)[:, None], new, frozen[ids.clamp(max=first - 1)])
