"""Keeping what was learnt: the adapter by itself, and the whole model, reloaded and compared before it counts."""

import shutil
from pathlib import Path

from blossom.models.adapters import merge_adapter, save_adapter, save_checked


def keep_model(model, tokenizer, base, folder):
    """Write `folder`/model (merged weights, tokenizer) and, where adapters were trained, `folder`/adapter.

    model   the model that `train_model` trained; base  what it was loaded from (folder, asset or hub id)
    return  the largest difference of logits found after reloading

    The base is read again at its stored precision for merging, so nothing is lost to the working precision of training.
    Removes `folder`/checkpoints once all is written. Raises RuntimeError when logits differ, leaving the checkpoints.
    """
    folder = Path(folder)
    if hasattr(model, "get_base_model"):
        save_adapter(model, folder / "adapter")
        difference = merge_adapter(base, folder / "adapter", folder / "model", tokenizer)
    else:
        difference = save_checked(model, tokenizer, folder / "model")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return difference
