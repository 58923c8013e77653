"""What the loop is fed: a dataset's rows in the order of training, looked at before anything is trained on them."""

import math

import numpy as np
from torch.utils.data import Dataset

from blossom.training.packing import IGNORED


class Rows(Dataset):
    """A dataset in the order of training: every epoch's permutation after another, cut where `epochs` says."""

    def __init__(self, dataset, settings):
        self.dataset, n = dataset, len(dataset)
        if n == 0:
            raise ValueError("nothing to train on: the dataset is empty (is the text shorter than one block?)")
        total = max(1, round(n * settings.epochs))
        orders = []
        for epoch in range(math.ceil(total / n)):
            ordered = getattr(dataset, "ordered", False)
            orders.append(np.arange(n) if ordered else np.random.default_rng([settings.seed, epoch]).permutation(n))
        self.order, self.real = np.concatenate(orders)[:total], total

    def fill(self, multiple):
        """Lengthen to a multiple of the rows that all processes take at once, by rows without a label: all processes
        then take the same number of batches, and the sums are those of one process."""
        self.order = np.concatenate([self.order, np.full(-len(self.order) % multiple, self.order[0])])

    def __len__(self):
        return len(self.order)

    def __getitem__(self, i):
        row = dict(self.dataset[int(self.order[i])]) | {"row": int(self.order[i])}
        if i >= self.real:
            row |= {"labels": np.full(len(row["labels"]), IGNORED), "tokens": 0}
        return row

    def fingerprint(self):
        """What a checkpoint must agree with: how many rows, and which text (a dataset may carry its own `key`)."""
        first = np.asarray(self.dataset[0]["input_ids"])
        return {"rows": self.real, "text": str(getattr(self.dataset, "key", first[:64].tolist()))}


def check_rows(rows, model):
    """Refuse data that would train nothing or index outside the table, before any step."""
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
