"""The model as the training loop sees it: token ids and labels in, summed cross-entropy out."""

import contextlib

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from blossom.models.bits import sum_nats
from blossom.models.loading import pick_device, pick_dtype
from blossom.training.cpu.decoder import FastDecoder, segment_arguments, supports_decoder
from blossom.training.data import collate_rows
from blossom.training.packing import IGNORED
from blossom.training.tables import EmbeddingTable


class Learner(nn.Module):
    """Wraps what `adapt_model` returned; forward gives the loss, so that DDP and FSDP see one module.

    It computes with the model's own weights, but not through the library's forward: embedding and head are an
    `EmbeddingTable`, and on CPU a `FastDecoder` runs the layers. When its `with` block ends, all weights get back the dtype
    they had. Where an embedding is trained whole, PEFT's untrained copy of it is dropped, since nothing reads it.
    """

    def __init__(self, model, precision="auto", activation_checkpointing=False):
        super().__init__()
        self.model, self.dtype = model, pick_dtype(precision)
        self._dtypes = [(parameter, parameter.dtype) for parameter in model.parameters()]
        for parameter in model.parameters():  # float32 for what is trained, the working precision for the rest
            parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else self.dtype)
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._causal = [causal]  # in a list, or torch would register it twice
        self.table = EmbeddingTable(causal.get_input_embeddings(), self.dtype)
        tied = causal.config.tie_word_embeddings
        self.head = self.table if tied else EmbeddingTable(causal.get_output_embeddings(), self.dtype)
        fast = pick_device().type == "cpu" and not activation_checkpointing and supports_decoder(self.decoder)
        self.fast = FastDecoder(self.decoder, self.dtype) if fast else None
        if activation_checkpointing:
            causal.activation_checkpointing_enable({"use_reentrant": False})

    @property
    def decoder(self):
        return self._causal[0].get_decoder()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.fast = self.table = self.head = None  # frees their buffers first
        if not isinstance(self, FSDPModule):  # whose parameters have become shards
            for parameter, dtype in self._dtypes:
                parameter.data = parameter.data.to(dtype)

    def forward(self, input_ids, labels, segments=None, items=1, anchored=None):
        """Sum of -ln p over the labelled tokens, divided by `items`.

        input_ids, labels, segments  (B, T); labels[t] is predicted from the tokens before t
        anchored  (B,) bool or None: rows whose target is the distribution of the base, with its adapters off
                  (knowledge distillation; cross-entropy between the two distributions)
        """
        x, trained = self.table.embed_linked(input_ids)
        hidden = self._decode(x, segments)[:, :-1]
        targets = labels[:, 1:]
        labelled, soft = targets != IGNORED, None
        if anchored is not None and anchored.any():
            with torch.no_grad():
                x = self.table.look_up(input_ids[anchored])
                base = self._decode(x, None if segments is None else segments[anchored], adapted=False)[:, :-1]
            soft = (labelled & anchored[:, None])[labelled], base[labelled[anchored]].to(self.dtype)
        trained = trained if self.head is self.table else None
        return self.head.loss(hidden[labelled].to(self.dtype), targets[labelled], soft, items, trained)

    def _decode(self, x, segments, adapted=True):
        """The decoder's last hidden states (B, T, D) of embedded tokens x (B, T, D), with or without its adapters."""
        if self.fast:
            return self.fast(inputs_embeds=x, segments=segments, adapted=adapted).last_hidden_state
        with contextlib.ExitStack() as contexts:
            if not adapted:
                contexts.enter_context(self.model.disable_adapter())
            if self.dtype != torch.float32:
                contexts.enter_context(torch.autocast(x.device.type, self.dtype))
            arguments = segment_arguments(segments, self.dtype)
            return self.decoder(inputs_embeds=x, use_cache=False, **arguments).last_hidden_state

    @contextlib.contextmanager
    def evaluation(self):
        """Within, `self.model` is in eval mode, and its own forward uses the fast embedding, decoder and head.

        Under FSDP, embeddings, head and last norm are gathered. Afterwards the library's forward is back.
        """
        sharded, causal = isinstance(self, FSDPModule), self._causal[0]
        if sharded:
            with torch.no_grad():  # the first pass must be through this module, FSDP's root
                self(*torch.zeros(2, 1, 2, dtype=torch.int64, device=pick_device()))
            self.unshard()
        forwards = {causal.get_output_embeddings(): self.head.logits, causal.get_input_embeddings(): self.table.look_up}
        forwards |= {self.decoder: self.fast} if self.fast else {}
        for module, forward in forwards.items():
            module.forward = forward
        self.model.eval()
        try:
            yield
        finally:
            for module in forwards:
                del module.forward
            self.model.train()
            if sharded:
                self.reshard()

    def parameter_groups(self, settings):
        """Trained parameters in two groups with learning rates of their own: all but embedding rows, embedding rows."""
        rows = {id(t.trained) for t in (self.table, self.head) if t.trained is not None}
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if id(p) not in rows], "lr": settings.learning_rate},
            {"params": [p for p in trained if id(p) in rows], "lr": settings.row_learning_rate, "eps": settings.row_epsilon},
        ]
        return [group for group in groups if group["params"]]


def mean_loss(model, dataset, batch_size=4):
    """Nats a labelled token of a dataset, what `train_model` minimises; the model is not changed.

    dataset  as for `train_model`. Raises ValueError when no token is labelled.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    total, count, training = 0.0, 0, model.training
    model.eval()
    for start in range(0, len(dataset), batch_size):
        batch = collate_rows([dataset[i] for i in range(start, min(start + batch_size, len(dataset)))])
        segments = batch["segments"][:, :-1] if "segments" in batch else None
        total += sum_nats(causal, batch["input_ids"], batch["labels"], **segment_arguments(segments, causal.dtype))
        count += (batch["labels"][:, 1:] != IGNORED).sum().item()
    model.train(training)
    if not count:
        raise ValueError("mean_loss: no labelled token in the dataset")
    return total / count
