"""The model as the training loop sees it: token ids and labels in, summed cross-entropy out."""

import contextlib

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from blossom.models import bits, loading
from blossom.training import data, packing, tables
from blossom.training.cpu.decoder import FastDecoder, segment_arguments, supports_decoder
from blossom.vocabulary.embeddings import find_decoder


class Learner(nn.Module):
    """Wraps the model from `adapt_model`; forward returns the loss, so that DDP and FSDP see one module.

    `EmbeddingTable` computes embedding and head, and on CPU `FastDecoder` the layers, where they are found to compute what
    transformers does with this model; else its own forward serves, and `note` says so.
    Until the `with` block ends, trained weights are float32 and the others in the working precision. PEFT's unused copy
    of an embedding that is trained whole is dropped.

    isolated  whether the data have segments; ValueError where transformers cannot keep them apart
    """

    def __init__(self, model, precision="auto", activation_checkpointing=False, isolated=False):
        super().__init__()
        self.model, self.dtype = model, loading.pick_dtype(precision)
        self._dtypes = [(parameter, parameter.dtype) for parameter in model.parameters()]
        for parameter in filter(torch.is_floating_point, model.parameters()):  # NF4 stays; what is trained is float32
            parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else self.dtype)
        for layer in (m for m in model.modules() if hasattr(m, "compute_dtype")):  # in NF4, where autocast does nothing
            layer.compute_dtype = self.dtype
        for norm in (m for m in model.modules() if isinstance(m, nn.LayerNorm)):
            norm.float()  # torch takes no float32 input with weights in bfloat16
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._causal = [causal]  # in a list, so that torch does not register it a second time
        self.table = tables.EmbeddingTable(causal.get_input_embeddings(), self.dtype)
        tied = getattr(causal.config, "tie_word_embeddings", False)
        self.head = self.table if tied else tables.EmbeddingTable(causal.get_output_embeddings(), self.dtype)
        self._pick_path(loading.pick_device().type == "cpu" and not activation_checkpointing, isolated)
        if activation_checkpointing:
            causal.activation_checkpointing_enable({"use_reentrant": False})

    @torch.no_grad()
    def _pick_path(self, fast, isolated):
        """Compare with transformers, on 2 x 16 ids spread over the vocabulary, what may replace parts of its forward."""
        causal, training, self.fast, self.note = self._causal[0], self.model.training, None, ""
        embed = self.model.eval() and causal.get_input_embeddings()
        ids = torch.linspace(0, len(embed.weight) - 1, 32, device=embed.weight.device).long().view(2, 16)
        with self._working_precision():
            self.scale = bits.measure_head(causal, self.head.logits)  # None: transformers makes the logits
            self.quick = self.scale is not None and self._embeds_the_same(ids, embed)
        if (found := tuple(self._read(ids, None).shape[:2])) != (2, 15):
            told = f"{causal.config.model_type} gives {found[1] + 1} predictions for 16 tokens"
            raise ValueError(f"base_model: {told}; take a model that gives one a token")
        if fast and self.quick and supports_decoder(self.decoder):
            self.fast = FastDecoder(self.decoder, self.dtype)
            self.fast = self.fast if self._computes_the_same(self.fast, self.table.look_up(ids)) else None
        if not self.quick or fast and not self.fast:
            self.note = f"{causal.config.model_type}: transformers' own forward pass is used, slower than this project's"
        if isolated:
            self._check_isolation(ids)
        self.model.train(training)

    def _embeds_the_same(self, ids, embed):
        """Whether rows of `table` serve the decoder in place of ids (B, T): no factor, no second table, no use of ids."""
        try:
            states, same = (self.decoder(**x).last_hidden_state for x in ({"input_ids": ids}, {"inputs_embeds": embed(ids)}))
        except (AttributeError, RuntimeError, TypeError, ValueError):  # DeepSeek-V4 routes tokens by their ids
            return False
        pairs = (embed(ids), self.table.look_up(ids)), (states, same)
        return all(a.shape == b.shape and bits.are_alike(a, b, self.dtype) for a, b in pairs)

    def _computes_the_same(self, fast, x):
        """Whether a decoder's states and gradients for embedded tokens x (B, T, D) are transformers' own.

        They may differ by a tenth, and by as much as transformers' own do when x is rounded otherwise.
        """
        learnt = [p for p in self.decoder.parameters() if p.requires_grad]
        draws, found = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x), []
        for decoder, rounding in ((fast, 0), (self.decoder, 0), (self.decoder, torch.finfo(self.dtype).eps)):
            given = (x * (1 + rounding * draws)).detach().requires_grad_()
            with torch.enable_grad(), contextlib.nullcontext() if decoder is fast else self._working_precision():
                states = decoder(inputs_embeds=given, use_cache=False).last_hidden_state
                dx, *gradients = torch.autograd.grad((states * draws).sum(), [given, *learnt], allow_unused=True)
            found.append([states.detach(), dx, torch.cat([g.flatten() for g in (dx[:0], *gradients) if g is not None])])
        same = zip(*found, strict=True)
        return all(a.shape == b.shape and (a - b).norm() <= 0.1 * b.norm() + (c - b).norm() for a, b, c in same)

    def _check_isolation(self, ids):
        """Raise ValueError when the states of a segment depend on the segment before it."""
        ids, one = torch.stack([ids[0], torch.cat([ids[1, :8], ids[0, 8:]])]), torch.ones_like(ids)
        both = [self._read(ids, segments)[:, 8:].float() for segments in (one, one + (one.cumsum(1) > 8))]
        leak, left = (states.diff(dim=0).norm() for states in both)
        if left > max(1e-3, torch.finfo(self.dtype).eps) * leak:
            told = f"transformers' {self._causal[0].config.model_type} cannot keep documents of one row apart"
            raise ValueError(f"isolate_documents: {told}; set isolate_documents: false")

    def _working_precision(self):
        place = self._causal[0].device.type
        return contextlib.nullcontext() if self.dtype == torch.float32 else torch.autocast(place, self.dtype)

    @property
    def decoder(self):
        return find_decoder(self._causal[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.fast = self.table = self.head = None  # frees their buffers before the weights are cast
        for parameter, dtype in self._dtypes:  # none under FSDP, where the parameters have become shards
            parameter.data = parameter.data.to(dtype)

    def forward(self, input_ids, labels, segments=None, items=1, anchored=None):
        """Sum of -ln p over the labelled tokens, divided by `items`.

        input_ids, labels, segments  (B, T); labels[t] is predicted from the tokens before t
        anchored  (B,) bool or None: rows whose target is the base model's distribution (knowledge distillation)
        """
        x, trained = self.table.embed_linked(input_ids) if self.quick else (None, None)
        read, targets = self._read(input_ids, segments, x), labels[:, 1:]
        labelled, soft = targets != packing.IGNORED, None
        if anchored is not None and anchored.any():
            with torch.no_grad():
                base = self._read(input_ids[anchored], None if segments is None else segments[anchored], adapted=False)
            soft = (labelled & anchored[:, None])[labelled], base[labelled[anchored]]
        if self.scale is None:
            return tables.sum_losses(read[labelled], targets[labelled], soft, self.table.first) / items
        return self.head.loss(read[labelled], targets[labelled], soft, items, trained if self.head is self.table else None)

    def _read(self, ids, segments, x=None, adapted=True):
        """Scaled last hidden states (B, T - 1, D) or, without `scale`, logits, of ids (B, T), embedded as x or not."""
        given = segment_arguments(segments, self.dtype, None if self.fast else self.decoder) | {"use_cache": False}
        x = self.table.look_up(ids) if self.quick and x is None else x
        given |= ({"input_ids": ids} if x is None else {"inputs_embeds": x}) | ({"adapted": adapted} if self.fast else {})
        with contextlib.ExitStack() as contexts:
            if not adapted:
                contexts.enter_context(self.model.disable_adapter())
            if not adapted and not self.fast:  # our own layers have no dropout
                contexts.callback(self.model.train, self.model.training)
                self.model.eval()  # the base's distribution without dropout
            if not self.fast:
                contexts.enter_context(self._working_precision())
            if self.scale is None:
                return self._causal[0](**given).logits[:, :-1]
            states = (self.fast or self.decoder)(**given).last_hidden_state[:, :-1]
        return (states if self.scale == 1 else states * self.scale).to(self.dtype)

    @contextlib.contextmanager
    def evaluation(self):
        """A context in which `self.model` is in eval mode and its own forward uses what is quick here."""
        sharded, causal, training = isinstance(self, FSDPModule), self._causal[0], self.model.training
        if sharded:  # gather embeddings, head and last norm; the first pass must go through this module, FSDP's root
            with torch.no_grad():
                self(*torch.zeros(2, 1, 2, dtype=torch.int64, device=loading.pick_device()))
            self.unshard()
        forwards = {} if self.scale is None else {causal.get_output_embeddings(): self.head.logits}
        forwards |= {causal.get_input_embeddings(): self.table.look_up} if self.quick else {}
        forwards |= {self.decoder: self.fast} if self.fast else {}
        for module, forward in forwards.items():
            module.forward = forward
        self.model.eval()
        try:
            with contextlib.nullcontext() if self.fast else self._working_precision():
                yield
        finally:
            for module in forwards:
                del module.forward
            self.model.train(training)
            if sharded:
                self.reshard()

    def parameter_groups(self, settings):
        """Optimizer groups with their learning rates: embedding rows, and all other trained parameters."""
        rows = {id(t.trained) for t in (self.table, self.head) if t.trained is not None}
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if id(p) not in rows], "lr": settings.learning_rate},
            {"params": [p for p in trained if id(p) in rows], "lr": settings.row_learning_rate, "eps": settings.row_epsilon},
        ]
        return [group for group in groups if group["params"]]


def measure_as_trained(p, model, tokenizer, texts):
    """Bits per byte of texts as training measures them: transformers rounds otherwise (English in bfloat16: 0.6 % more).

    p  has `precision` and `activation_checkpointing`;  model  gets no gradients, and weights rounded to the precision
    """
    with Learner(model.requires_grad_(False), p.precision, p.activation_checkpointing) as learner, learner.evaluation():
        return bits.measure_bits(model, tokenizer, texts)


def mean_loss(model, dataset, batch_size=4):
    """Mean loss of a dataset in nats per labelled token, as `train_model` minimises it; the model is not changed."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    (rank, world), training = bits.share_passes(model), model.training
    found = torch.zeros(2, dtype=torch.float64, device=causal.device)  # nats, tokens
    model.eval()
    for start in range(rank * batch_size, len(dataset), world * batch_size):
        batch = data.collate_rows([dataset[i] for i in range(start, min(start + batch_size, len(dataset)))], causal)
        segments = batch["segments"][:, :-1] if "segments" in batch else None
        nats = bits.label_nats(causal, batch["input_ids"], batch["labels"], **segment_arguments(segments))
        found += torch.stack([nats.double().sum(), found.new_tensor(len(nats))])
    model.train(training)
    if world > 1:
        torch.distributed.all_reduce(found)
    total, count = found.tolist()
    if not count:
        raise ValueError("mean_loss: no labelled token in the dataset")
    return total / count


def mean_losses(model, texts):
    """The `mean_loss` of each dataset of a dict `texts`, by its name."""
    return {name: mean_loss(model, rows) for name, rows in texts.items()}
