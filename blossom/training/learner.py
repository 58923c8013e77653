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
    """Wraps the model from `adapt_model`; forward returns the loss, so that DDP and FSDP see one module.

    Embedding and head are computed by `EmbeddingTable`, and the layers on CPU by `FastDecoder`, with the model's weights.
    Until the `with` block ends, trained weights are float32 and the others in the working precision. PEFT's unused copy
    of an embedding that is trained whole is dropped.
    """

    def __init__(self, model, precision="auto", activation_checkpointing=False):
        super().__init__()
        self.model, self.dtype = model, pick_dtype(precision)
        self._dtypes = [(parameter, parameter.dtype) for parameter in model.parameters()]
        for parameter in model.parameters():  # float32 for what is trained, the working precision for the rest
            parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else self.dtype)
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._causal = [causal]  # in a list, so that torch does not register it a second time
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
        self.fast = self.table = self.head = None  # frees their buffers before the weights are cast
        if not isinstance(self, FSDPModule):  # there, the parameters have become shards
            for parameter, dtype in self._dtypes:
                parameter.data = parameter.data.to(dtype)

    def forward(self, input_ids, labels, segments=None, items=1, anchored=None):
        """Sum of -ln p over the labelled tokens, divided by `items`.

        input_ids, labels, segments  (B, T); labels[t] is predicted from the tokens before t
        anchored  (B,) bool or None: rows whose target is the base model's distribution (knowledge distillation)
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
        """Last hidden states (B, T, D) of embedded tokens x (B, T, D), with or without the adapters."""
        if self.fast:
            return self.fast(inputs_embeds=x, segments=segments, adapted=adapted).last_hidden_state
        with contextlib.ExitStack() as contexts:
            if not adapted:
                contexts.enter_context(self.model.disable_adapter())
            if self.dtype != torch.float32:
                contexts.enter_context(torch.autocast(x.device.type, self.dtype))
            arguments = segment_arguments(segments, self.dtype, self.decoder)
            return self.decoder(inputs_embeds=x, use_cache=False, **arguments).last_hidden_state

    @contextlib.contextmanager
    def evaluation(self):
        """A context in which `self.model` is in eval mode and its own forward uses the fast embedding, decoder and head."""
        sharded, causal = isinstance(self, FSDPModule), self._causal[0]
        if sharded:  # gather embeddings, head and last norm; the first pass must go through this module, FSDP's root
            with torch.no_grad():
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
        """Optimizer groups with their learning rates: embedding rows, and all other trained parameters."""
        rows = {id(t.trained) for t in (self.table, self.head) if t.trained is not None}
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if id(p) not in rows], "lr": settings.learning_rate},
            {"params": [p for p in trained if id(p) in rows], "lr": settings.row_learning_rate, "eps": settings.row_epsilon},
        ]
        return [group for group in groups if group["params"]]


def mean_loss(model, dataset, batch_size=4):
    """Mean loss of a dataset in nats per labelled token, as `train_model` minimises it; the model is not changed."""
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
