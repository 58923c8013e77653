"""Embedding tables of which some rows, all or none are trained, and a fused linear cross-entropy over them.

Logits are computed in tiles (some tokens by part of the vocabulary) and turned into gradients at once, so the
(tokens, vocabulary) matrix is never stored. Frozen rows get no gradient.
"""

import torch
import torch.nn.functional as F

from blossom.training.cpu import compiled_ops
from blossom.training.cpu.memory import BufferPool

TILE = {"cpu": (1024, 4096), "cuda": (4096, 32768)}  # tokens by vocabulary; on CPU a tile of bfloat16 is 8 MB


class EmbeddingTable:
    """The weight (V, D) of an embedding or head in two parts, both read anew at every use, since FSDP replaces tensors.

    frozen   (first, D) in the working precision, or None when all rows are trained
    trained  (V - first, D) float32 parameter, or None when no row is trained
    """

    def __init__(self, module, dtype):
        self.dtype, self.first = dtype, 0
        self.gradients, self.tiles = BufferPool(), BufferPool()  # two, so that tiles do not take the memory of gradients
        frozen = trained = None  # (module or dict of parameters, name)
        own = getattr(getattr(module, "original_module", module), "padding_idx", None)
        self.padding = -1 if own is None else own  # torch gives this row no gradient as an input
        if hasattr(module, "token_adapter"):  # PEFT: some rows
            adapter = module.token_adapter
            trained, frozen = (adapter.trainable_tokens_delta, "default"), (adapter.get_base_layer(), "weight")
            self.first, rows = adapter.token_indices["default"][0], len(frozen[0].weight)
            if list(adapter.token_indices["default"]) != list(range(self.first, rows)):
                raise ValueError("trained rows must be the last rows of the table")
        elif hasattr(module, "modules_to_save"):  # PEFT: the whole table; its untrained copy is dropped
            original = module.original_module.weight
            original.data = original.data.new_empty(0, original.shape[1], dtype=dtype)
            trained = module.modules_to_save["default"], "weight"
        elif module.weight.requires_grad:
            trained = module, "weight"
        else:
            frozen, self.first = (module, "weight"), len(module.weight)
        self._frozen, self._trained = frozen, trained

    @property
    def frozen(self):
        return None if self._frozen is None else getattr(*self._frozen).detach()[: self.first]

    @property
    def trained(self):
        return None if self._trained is None else getattr(*self._trained)

    def embed_linked(self, ids):
        """Embed ids: (rows (.., D) in the working precision, the trained rows to pass to `loss` as `linked`).

        Thus the embedding and the head of a tied table share one gradient tensor; otherwise autograd would make and add two.
        """
        return (self.look_up(ids), None) if self.trained is None else _Embed.apply(self.trained, ids, self)

    def look_up(self, ids):
        """ids (..) -> rows (.., D) in the working precision, without gradients."""
        frozen, trained = self.frozen, self.trained
        if frozen is None or trained is None:
            return F.embedding(ids, trained if frozen is None else frozen).to(self.dtype)
        new = F.embedding((ids - self.first).clamp(min=0), trained).to(self.dtype)
        return torch.where((ids >= self.first)[..., None], new, F.embedding(ids.clamp(max=self.first - 1), frozen))

    def add_rows(self, gradient, ids, rows):
        """Add rows (N, D) to a gradient of the trained rows, for those ids (N,) that are trained."""
        trained = ids >= self.first
        gradient.index_add_(0, ids[trained] - self.first, rows[trained].to(gradient.dtype))

    def logits(self, hidden):
        """hidden (.., D) -> (.., V), for decoding and measuring."""
        hidden = hidden.to(self.dtype)
        parts = [] if self.frozen is None else [hidden @ self.frozen.t()]
        if self.trained is not None:
            parts.append(hidden @ self.trained.to(self.dtype).t())
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    def loss(self, hidden, targets, soft=None, items=1, linked=None):
        """Sum of -ln p(target) over hidden (N, D), targets (N,), divided by `items`; a float32 scalar.

        soft    None, or (N,) bool: tokens whose target is the base's distribution, and its last hidden states (n, D) there
        linked  the second result of `embed_linked`, or None
        """
        trained, expected = self.trained if linked is None else linked, None
        if soft is not None and soft[0].any():
            expected = soft[0], self._expect_rows(soft[1])
        return _Loss.apply(hidden, targets, trained, self, torch.is_grad_enabled(), expected, items)

    @torch.no_grad()
    def _expect_rows(self, states):
        """Mean of the base's output rows weighted by its probabilities, for its last hidden states (n, D).

        Cross-entropy with a soft target q is ln sum exp(h . w_v) - h . sum q_v w_v: the loss needs only this last sum.
        """
        rows, columns = TILE[states.device.type]
        tiles = (_exponentials(h, [(self.frozen, False)], columns, self) for h in _pad_rows(states).split(rows))
        return torch.cat([gradient.div_(s) for s, gradient, _ in tiles])[: len(states)]


def sum_losses(logits, targets, soft, known):
    """The loss of `EmbeddingTable.loss` from logits (N, V); soft[1] are the base's logits, of which `known` are its own."""
    logs = logits.float().log_softmax(-1)
    losses = F.nll_loss(logs, targets, reduction="none")
    if soft is not None:
        losses = losses.index_put((soft[0],), -(soft[1][:, :known].float().softmax(-1) * logs[soft[0], :known]).sum(-1))
    return losses.sum()


class _Embed(torch.autograd.Function):
    """Rows of a table by ids, and the trained rows themselves (see `EmbeddingTable.embed_linked`)."""

    @staticmethod
    def forward(ctx, trained, ids, table):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(ids)
        ctx.table, ctx.like = table, (trained.shape, trained.dtype, trained.device)
        return table.look_up(ids), trained.view_as(trained)

    @staticmethod
    def backward(ctx, drows, dtrained):
        if dtrained is None:
            dtrained = ctx.table.gradients.empty(*ctx.like).zero_()
        if drows is not None:
            (ids,) = ctx.saved_tensors
            ids = ids.flatten()
            ctx.table.add_rows(dtrained, ids.masked_fill(ids == ctx.table.padding, -1), drows.flatten(0, -2))
        return dtrained, None, None


class _Loss(torch.autograd.Function):
    """Cross-entropy in tiles; forward also computes the gradient, so the logits are not stored for backward."""

    @staticmethod
    def forward(ctx, hidden, targets, trained, table, learn, expected, items):
        learn = learn and trained is not None and ctx.needs_input_grad[2]
        dtrained = table.gradients.empty(trained.shape, trained.dtype, trained.device) if learn else None
        parts = [(part, own) for part, own in ((table.frozen, False), (trained, learn)) if part is not None]
        rows, columns = TILE[hidden.device.type]
        chosen = table.look_up(targets)
        if expected is not None:
            chosen = chosen.float().index_put((expected[0],), expected[1])
            targets = targets.masked_fill(expected[0], -1)
        count, (hidden, targets, chosen) = len(hidden), (_pad_rows(x) for x in (hidden, targets, chosen))
        dhidden, losses = torch.empty_like(hidden), hidden.new_empty(len(hidden), dtype=torch.float32)
        each = (x.split(rows) for x in (hidden, targets, chosen, dhidden, losses))
        for n, (h, t, c, dh, loss) in enumerate(zip(*each, strict=True)):
            loss.copy_(_tile_row(h, t, c, dh, dtrained, parts, table, columns, items, n == 0))
        ctx.save_for_backward(dhidden[:count], dtrained)
        return losses[:count].sum() / items

    @staticmethod
    def backward(ctx, scale):
        dhidden, dtrained = ctx.saved_tensors
        if scale.item() != 1:  # with several devices
            dhidden, dtrained = dhidden * scale.to(dhidden.dtype), None if dtrained is None else dtrained.mul_(scale)
        return dhidden, None, dtrained, None, None, None, None


def _tile_row(h, targets, chosen, dh, dtrained, parts, table, columns, items, first):
    """Losses (n,) of tokens h (n, D) whose target rows are `chosen` (n, D).

    Writes the gradient of h to dh, and that of the trained rows to dtrained (overwritten when `first`, else added), both
    divided by `items`. With e = exp(logits) and s their sum over the vocabulary, loss = ln s - h . chosen and
    dh = (e @ W) / s - chosen. Logits outside (-60, 60) could overflow exp; then all is repeated with the maximum subtracted.
    """
    s, gradient, kept = _exponentials(h, parts, columns, table)
    shift = torch.zeros_like(s)
    if not bool(((s > 1e-26) & (s < 1e26)).all()):
        tiles = (w.to(h.dtype) for part, _ in parts for w in part.split(columns))
        shift = torch.stack([(h @ w.t()).amax(-1) for w in tiles]).amax(0)[:, None]
        s, gradient, kept = _exponentials(h, parts, columns, table, shift)
    dh.copy_(gradient.div_(s).sub_(chosen).div_(items))
    if dtrained is not None:
        scaled = (h / (s * items)).to(h.dtype)
        for e, d in zip(kept, dtrained.split(columns), strict=True):
            product = e.t() @ scaled
            d.copy_(product) if first else d.add_(product)
        table.add_rows(dtrained, targets, h.to(dtrained.dtype) / -items)
    return (s.log() + shift).squeeze(1) - (h.float() * chosen).sum(-1)


def _pad_rows(x, multiple=64):
    # oneDNN caches a primitive for every shape; rows of zeros add nothing to any gradient
    return F.pad(x, (0, 0) * (x.dim() - 1) + (0, -len(x) % multiple))


def _exponentials(h, parts, columns, table, shift=None):
    """e = exp(h @ W.T - shift) in tiles: its sum (n, 1) and e @ W (n, D) in float32, and e of the trained parts."""
    ops = compiled_ops.pick_ops(h.dtype, h.device)
    s, gradient, kept = h.new_zeros(len(h), 1, dtype=torch.float32), h.new_zeros(h.shape, dtype=torch.float32), []
    for part, learn in parts:
        for w in part.split(columns):
            w = w.to(h.dtype)  # cast tile by tile, so that no whole copy is made
            logits = torch.mm(h, w.t(), out=table.tiles.empty((len(h), len(w)), h.dtype, h.device))
            e, total = ops.exponentials(logits if shift is None else logits.sub_(shift))
            s += total
            gradient += e @ w
            kept += [e] if learn else []
    return s, gradient, kept
