"""What training did to the new embedding rows: how often each was read, how far it moved, its nearest rows."""

import numpy as np
import pandas as pd
import torch


def summarize_rows(blocks, count, before, after, first):
    """For each new row, count how often it was read and how far it moved: DataFrame by token id.

    `read` counts the token in the first `count` rows of `blocks`; `moved` is the norm of the change over the norm before.

    before, after  (V, D) embedding tables
    first          id of the first new row
    """
    read = np.zeros(len(after), dtype=np.int64)
    for some in (range(count)[i : i + 1024] for i in range(0, count, 1024)):  # a count of all ids takes long by the block
        read += np.bincount(np.concatenate([blocks[i]["input_ids"] for i in some]), minlength=len(after))
    old, new = before[first:].detach().float(), after[first:].detach().float()
    moved = (new - old).norm(dim=1) / old.norm(dim=1).clamp(min=1e-12)
    return pd.DataFrame({"read": read[first:], "moved": moved.numpy()}, index=pd.RangeIndex(first, len(after), name="token"))


def nearest_rows(table, ids, count=5):
    """Ids (len(ids), count) of the rows of `table` (V, D) that are nearest by cosine after subtracting the mean row."""
    centred = torch.nn.functional.normalize(table.detach().float() - table.detach().float().mean(0), dim=1)
    likeness = centred[ids] @ centred.T
    likeness[torch.arange(len(ids)), torch.as_tensor(ids)] = -2.0
    return likeness.topk(count).indices
