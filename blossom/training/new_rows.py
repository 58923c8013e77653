"""Whether the new rows learnt: how often each was read, how far it moved, what lies near it."""

import numpy as np
import pandas as pd
import torch


def summarize_rows(blocks, count, before, after, first):
    """What happened to every new row: a table indexed by token id, columns `read` and `moved`.

    blocks         what was trained on;  count  of its rows that were read (`rows` of what `train_model` returns)
    before, after  (V, D) embedding tables;  first  id of the first new row
    read           times the token was read;  moved  norm of the row's change over its norm before

    A row that was never read still moves where embeddings and head are tied: the softmax pushes it down.
    """
    read = np.zeros(len(after), dtype=np.int64)
    for i in range(count):
        read += np.bincount(blocks[i]["input_ids"], minlength=len(after))
    old, new = before[first:].detach().float(), after[first:].detach().float()
    moved = (new - old).norm(dim=1) / old.norm(dim=1).clamp(min=1e-12)
    return pd.DataFrame({"read": read[first:], "moved": moved.numpy()}, index=pd.RangeIndex(first, len(after), name="token"))


def nearest_rows(table, ids, count=5):
    """The rows most like each of some rows: (len(ids), count) ids, by cosine, nearest first; a row is not its own.

    table  (V, D), of which the mean is taken away first: rows share a direction that says nothing about meaning
    """
    centred = torch.nn.functional.normalize(table.detach().float() - table.detach().float().mean(0), dim=1)
    likeness = centred[ids] @ centred.T
    likeness[torch.arange(len(ids)), torch.as_tensor(ids)] = -2.0
    return likeness.topk(count).indices
