"""The rows of a dataset in the order of training, checked before the first step, and as padded batches."""

import math

import numpy as np
import torch
from torch import nn

from blossom.training.packing import IGNORED


class TrainingRows:
    """A dataset in the order of training: one permutation after another, cut where `settings.epochs` says."""

    def __init__(self, dataset, settings):
        self.dataset, self.batch_size, n = dataset, settings.batch_size, len(dataset)
        if n == 0:
            raise ValueError("nothing to train on: the dataset is empty (is the text shorter than one block?)")
        self.real = max(1, round(n * settings.epochs))
        ordered = getattr(dataset, "ordered", False)
        epochs = range(math.ceil(self.real / n))
        orders = [np.arange(n) if ordered else np.random.default_rng([settings.seed, e]).permutation(n) for e in epochs]
        self.order = np.concatenate(orders)[: self.real]

    def pad_to(self, multiple):
        """Lengthen to a multiple of the rows that all processes read at once, by rows without labels: every process
        then has equally many batches, and the sums do not change."""
        self.order = np.concatenate([self.order, np.full(-len(self.order) % multiple, self.order[0])])

    def __len__(self):
        return len(self.order)

    def __getitem__(self, i):
        row = dict(self.dataset[int(self.order[i])]) | {"row": int(self.order[i])}
        if i >= self.real:
            row |= {"labels": np.full(len(row["labels"]), IGNORED), "tokens": 0}
        return row

    def batch(self, number, device):
        """Batch `number`: its rows' numbers and lengths, and what `Learner` takes, on a device."""
        batch = collate_rows([self[i] for i in range(number * self.batch_size, (number + 1) * self.batch_size)])
        batch = {name: value.to(device) for name, value in batch.items()}
        return {name: batch.pop(name) for name in ("row", "tokens")}, batch

    def fingerprint(self):
        """What a checkpoint must agree with: how many rows, of which text (a dataset may carry its own `key`)."""
        first = np.asarray(self.dataset[0]["input_ids"])
        return {"rows": self.real, "text": str(getattr(self.dataset, "key", first[:64].tolist()))}


def check_rows(rows, model):
    """Raise ValueError for the first row that trains nothing, is too long or has ids outside the embedding table."""
    vocabulary, longest = model.get_input_embeddings().weight.shape[0], model.config.max_position_embeddings
    for i in range(len(rows.dataset)) if not hasattr(rows.dataset, "key") else (0, len(rows.dataset) - 1):
        row = rows.dataset[i]
        ids, labels = np.asarray(row["input_ids"]), np.asarray(row["labels"])
        if not len(ids) or ids.min() < 0 or ids.max() >= vocabulary:
            raise ValueError(
                f"row {i}: token ids must lie in 0..{vocabulary - 1}, the model's rows; is it another tokenizer's?"
            )
        if len(ids) > longest:
            raise ValueError(
                f"row {i}: {len(ids)} tokens, and the model reads at most {longest} at once; lower block_size (stage 03) or "
                "sequence_length (stage 04)"
            )
        if not (labels[1:] != IGNORED).any():
            raise ValueError(f"row {i}: no token of it is labelled, so nothing can be learnt from it; leave it out")


def collate_rows(rows):
    """A batch of rows, padded at the end to the longest: dict of (B, T) int64 tensors; "row" and "tokens" are (B,).

    Rows of unequal lengths are padded to a multiple of 32: oneDNN caches a compiled primitive for every shape it meets,
    which took gigabytes in stage 04.
    """
    sizes = {len(row["input_ids"]) for row in rows}
    width = max(sizes) if len(sizes) == 1 else -(-max(sizes) // 32) * 32

    def column(name, pad):
        values = [torch.as_tensor(row[name], dtype=torch.int64) for row in rows]
        return torch.stack([nn.functional.pad(value, (0, width - len(value)), value=pad) for value in values])

    batch = {"input_ids": column("input_ids", 0), "labels": column("labels", IGNORED)}
    batch["tokens"] = torch.tensor([row.get("tokens", len(row["input_ids"])) for row in rows])
    batch["row"] = torch.tensor([row["row"] for row in rows])
    if "segments" in rows[0]:
        batch["segments"] = column("segments", 0)
    if "anchored" in rows[0]:
        batch["anchored"] = torch.tensor([row["anchored"] for row in rows])
    return batch
