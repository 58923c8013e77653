"""What training did to the new embedding rows: how often each was read, how far it moved, its nearest rows."""

import numpy as np
import pandas as pd
import torch


def summarize_rows(blocks, count, before, after, first):
    """A table of the new rows by token id: `read`, how often; `moved`, the norm of the change over the norm before.

    blocks         the dataset trained on;  count  how many of its rows were read ("rows" of what `train_model` returns)
    before, after  (V, D) embedding tables;  first  id of the first new row
    """
    read = np.zeros(len(after), dtype=np.int64)
    for i in range(count):
        read += np.bincount(blocks[i]["input_ids"], minlength=len(after))
    old, new = before[first:].detach().float(), after[first:].detach().float()
    moved = (new - old).norm(dim=1) / old.norm(dim=1).clamp(min=1e-12)
    return pd.DataFrame({"read": read[first:], "moved": moved.numpy()}, index=pd.RangeIndex(first, len(after), name="token"))


def nearest_rows(table, ids, count=5):
    """The rows nearest to some rows of `table` (V, D), by cosine after subtracting the mean: (len(ids), count) ids."""
    centred = torch.nn.functional.normalize(table.detach().float() - table.detach().float().mean(0), dim=1)
    likeness = centred[ids] @ centred.T
    likeness[torch.arange(len(ids)), torch.as_tensor(ids)] = -2.0
    return likeness.topk(count).indices
