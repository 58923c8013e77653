"""The model as the loop sees it: sequences in, summed cross-entropy out, by the quickest way this machine has."""

import contextlib

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from blossom.models.loading import pick_device, pick_dtype
from blossom.training.cpu import decoder
from blossom.training.packing import IGNORED
from blossom.training.tables import Table


class Learner(nn.Module):
    """Wraps what `adapt_model` returned; forward gives the loss, so DDP and FSDP see one module.

    After this the wrapped model itself is quicker too (`bits_per_byte`, generation): frozen weights lie in the
    working precision, embeddings and head skip PEFT's copies, and on CPU `decoder.Quick` stands in for the layers.
    """

    def __init__(self, model, precision="auto", activation_checkpointing=False):
        super().__init__()
        self.model = model
        self.dtype = pick_dtype(precision)
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        for parameter in model.parameters():  # masters of what learns in float32, the rest in the working precision
            parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else self.dtype)
        self._causal = [causal]  # in a list: not registered twice
        embedding, head = causal.get_input_embeddings(), causal.get_output_embeddings()
        self.table = Table(embedding, self.dtype)
        self.head = self.table if causal.config.tie_word_embeddings else Table(head, self.dtype)
        embedding.forward, head.forward = self.table.embed, self.head.logits
        inner = causal.get_decoder()
        self.quick = pick_device().type == "cpu" and not activation_checkpointing and decoder.fits(inner)
        if self.quick:
            inner.forward = decoder.Quick(inner, self.dtype)
        elif activation_checkpointing:
            causal.activation_checkpointing_enable({"use_reentrant": False})

    def forward(self, input_ids, labels, segments=None, items=1, anchored=None):
        """Sum of -ln p over the labelled tokens, divided by `items`.

        input_ids, labels, segments  (B, T); labels[t] is predicted from the tokens before t; IGNORED is not predicted
        anchored  (B,) bool or None: sequences in which the base's own expectation is the target, not the token
        """
        x, linked = self.table.embed_linked(input_ids)
        hidden = self.hidden(x, segments)[:, :-1]
        targets = labels[:, 1:]
        learnt = targets != IGNORED
        soft = None
        if anchored is not None and anchored.any():
            states = self.base_states(input_ids[anchored], None if segments is None else segments[anchored])[:, :-1]
            soft = (learnt & anchored[:, None])[learnt], states[learnt[anchored]].to(self.dtype)
        linked = linked if self.head is self.table else None
        return self.head.loss(hidden[learnt].to(self.dtype), targets[learnt], soft, items, linked)  # logits where labels are

    @torch.no_grad()
    def base_states(self, input_ids, segments):
        """The last hidden states (B, T, D) of the model without its adapters."""
        if self.quick:
            quick = self._causal[0].get_decoder().forward
            quick.bare = True
            try:
                return self.hidden(self.table.embed(input_ids), segments)
            finally:
                quick.bare = False
        with self.model.disable_adapter():
            return self.hidden(self.table.embed(input_ids), segments)

    def hidden(self, x, segments):
        """The decoder's last hidden states (B, T, D) of embedded tokens x (B, T, D)."""
        inner = self._causal[0].get_decoder()
        if self.quick:
            return inner(inputs_embeds=x, segments=segments).last_hidden_state
        more = {}
        if segments is not None:
            more = {
                "attention_mask": decoder.allowed(segments, self.dtype)[:, None],
                "position_ids": decoder.positions(segments),
            }
        mixed = torch.autocast(x.device.type, self.dtype) if self.dtype != torch.float32 else contextlib.nullcontext()
        with mixed:
            return inner(inputs_embeds=x, use_cache=False, **more).last_hidden_state

    @contextlib.contextmanager
    def whole(self):
        """Under FSDP, holds what is no layer's (embeddings, head, last norm) whole: the model can then be used by itself."""
        if not isinstance(self, FSDPModule):
            yield
            return
        with torch.no_grad():
            ids = torch.zeros(1, 2, dtype=torch.int64, device=pick_device())
            self(ids, ids)  # the first pass must be through this module, since it is the root
        self.unshard()
        yield
        self.reshard()

    def shapes(self):
        """Name -> shape of every trained parameter."""
        return {n: list(p.shape) for n, p in self.named_parameters() if p.requires_grad}

    def groups(self, settings):
        """Parameters to train in two groups with their own learning rates: embedding rows, and all others."""
        rows = {id(t.trained) for t in (self.table, self.head) if t.trained is not None}
        trained = [p for p in self.parameters() if p.requires_grad]
        others, own = [p for p in trained if id(p) not in rows], [p for p in trained if id(p) in rows]
        groups = [
            {"params": others, "lr": settings.learning_rate},
            {"params": own, "lr": settings.row_learning_rate, "eps": settings.row_epsilon},
        ]
        return [group for group in groups if group["params"]]


def precision_of(model):
    """The name of the precision that a Learner has put a model into; "" for a model that none has wrapped."""
    table = getattr(model.get_input_embeddings().forward, "__self__", None)
    return str(table.dtype).removeprefix("torch.") if isinstance(table, Table) else ""


def collate(items):
    """A batch of items, padded at the end to the longest: dict of (B, T) int64 tensors, row numbers and own lengths.

    Items of unequal lengths are padded to a multiple of 32: the library keeps a program for every size it has met, and
    gigabytes of them were the most of stage 04's memory.
    """
    sizes = {len(item["input_ids"]) for item in items}
    width = max(sizes) if len(sizes) == 1 else -(-max(sizes) // 32) * 32

    def column(name, pad):
        rows = [torch.as_tensor(item[name], dtype=torch.int64) for item in items]
        return torch.stack([nn.functional.pad(row, (0, width - len(row)), value=pad) for row in rows])

    batch = {"input_ids": column("input_ids", 0), "labels": column("labels", IGNORED)}
    batch["tokens"] = torch.tensor([item.get("tokens", len(item["input_ids"])) for item in items])
    if "segments" in items[0]:
        batch["segments"] = column("segments", 0)
    if "anchored" in items[0]:
        batch["anchored"] = torch.tensor([item["anchored"] for item in items])
    return batch | {"row": torch.tensor([item["row"] for item in items])}


def mean_loss(model, dataset, batch_size=4):
    """Nats a labelled token of a dataset (what `train_model` minimises); model as `train_model` or `load_model` left it."""
    total = count = 0.0
    training, _ = model.training, model.eval()
    learner = Learner(model, precision_of(model) or "auto")
    with torch.no_grad():
        for start in range(0, len(dataset), batch_size):
            items = [dict(dataset[i]) | {"row": i} for i in range(start, min(start + batch_size, len(dataset)))]
            batch = {k: v.to(pick_device()) for k, v in collate(items).items() if k not in ("row", "tokens")}
            total += learner(**batch).item()
            count += (batch["labels"][:, 1:] != IGNORED).sum().item()
    model.train(training)
    if not count:
        raise ValueError("mean_loss: no labelled token in the dataset")
    return total / count
