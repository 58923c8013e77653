"""The rows of a dataset in the order of training, checked before the first step, and as padded batches."""

import hashlib
import json
import math

import numpy as np
import torch
from torch.nn.functional import pad

from blossom.models.bits import pad_width
from blossom.training.packing import IGNORED


class TrainingRows:
    """A dataset in the order of training: a new permutation each epoch, for `settings.epochs` epochs."""

    def __init__(self, dataset, settings, model):
        self.dataset, self.batch_size, self.model, n = dataset, settings.batch_size, model, len(dataset)
        if n == 0:
            raise ValueError("nothing to train on: the dataset is empty (is the text shorter than one block?)")
        count = max(1, round(n * settings.epochs))
        ordered, epochs = getattr(dataset, "ordered", False), range(math.ceil(count / n))
        orders = [np.arange(n) if ordered else np.random.default_rng([settings.seed, e]).permutation(n) for e in epochs]
        if not ordered and self.batch_size > 1:
            lengths, size, seed = np.array([len(row["input_ids"]) for row in dataset]), self.batch_size, settings.seed
            orders = [_group_lengths(o, lengths, size, -e * n % size, [seed, e]) for e, o in enumerate(orders)]
        self.order = np.concatenate(orders)[:count]

    def __len__(self):
        return len(self.order)

    def numbers(self, batch):
        """The indices in the dataset of a batch's rows."""
        return self.order[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()

    def batch(self, number, device):
        """Batch `number` for `Learner`, on a device, and its tokens without padding.

        A last batch that is too small is filled with a row without labels, so that all processes have batches of one size.
        """
        rows = [self.dataset[i] for i in self.numbers(number)]
        tokens = sum(len(row["input_ids"]) for row in rows)
        if len(rows) < self.batch_size:
            first = self.dataset[int(self.order[0])]
            rows += [dict(first) | {"labels": np.full(len(first["labels"]), IGNORED)}] * (self.batch_size - len(rows))
        return {name: value.to(device) for name, value in collate_rows(rows, self.model).items()}, tokens

    def fingerprint(self):
        """What must be the same for a checkpoint to be continued: number of rows, and text."""
        digest = hashlib.sha256()
        for row in () if hasattr(self.dataset, "key") else self.dataset:  # one at a time: 300,000 examples as lists take GB
            digest.update(json.dumps([np.asarray(row[name]).tolist() for name in ("input_ids", "labels")]).encode())
        return {"rows": len(self), "text": getattr(self.dataset, "key", digest.hexdigest())}


def _group_lengths(order, lengths, size, begun, seed):
    """Sort pools of 32 batches by length, shuffle the batches; the first `begun` rows fill the last epoch's batch."""
    begun, order = order[:begun], order[begun:]
    pools = np.split(order, range(32 * size, len(order), 32 * size))
    order = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
    full = len(order) // size * size  # the last batch may be smaller, and stays the last
    shuffled = np.random.default_rng(seed).permutation(order[:full].reshape(-1, size))
    return np.concatenate([begun, shuffled.ravel(), order[full:]])


def check_rows(dataset, model):
    """Raise ValueError for the first row that is too long, has no labels, or has ids outside the embedding table."""
    vocabulary = len(model.get_input_embeddings().weight)
    longest = getattr(model.config, "max_position_embeddings", math.inf)
    alike = hasattr(dataset, "key")  # Blocks are made in one way: two stand for all; one may end a text with a single token
    for i in (0, len(dataset) - 1) if alike else range(len(dataset)):
        ids, labels = (np.asarray(dataset[i][name]) for name in ("input_ids", "labels"))
        if not len(ids) or ids.min() < 0 or ids.max() >= vocabulary:
            reason = f"token ids must lie in 0..{vocabulary - 1}, the model's rows; is it another tokenizer's?"
        elif len(ids) > longest:
            lower = "lower block_size (stage 03) or sequence_length (stage 04)"
            reason = f"{len(ids)} tokens, and the model reads at most {longest} at once; {lower}"
        elif not alike and not (labels[1:] != IGNORED).any():
            reason = "no token of it is labelled, so nothing can be learnt from it; leave it out"
        else:
            continue
        raise ValueError(f"row {i}: {reason}")


def collate_rows(rows, model):
    """Pad rows at the end to one length, a `pad_width`: dict of int64 tensors (B, T); "anchored" is bool (B,)."""
    sizes = {len(row["input_ids"]) for row in rows}
    width, batch = max(sizes) if len(sizes) == 1 else pad_width(max(sizes), model), {}
    for name, padding in (("input_ids", 0), ("labels", IGNORED), ("segments", 0)):
        if name in rows[0]:
            values = [torch.as_tensor(row[name], dtype=torch.int64) for row in rows]
            batch[name] = torch.stack([pad(value, (0, width - len(value)), value=padding) for value in values])
    if "anchored" in rows[0]:
        batch["anchored"] = torch.tensor([row["anchored"] for row in rows])
    return batch
