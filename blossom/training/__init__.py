"""One loop for continued pretraining and instruction tuning, on transformers' Trainer.

    model = models.adapt(model, "lora+embeddings")
    result = training.fit(model, dataset, settings, folder, evaluate)
    training.keep(model, tokenizer, base, folder)            # adapter/ and model/, merged, reloaded, compared

Both kinds of data take the same path: a dataset gives sequences of `input_ids` with `labels`, -100 where nothing is
to be learnt, and optionally `segments`, the number of the document or example that each token belongs to.
"""

from blossom.training.estimate import estimate
from blossom.training.keep import keep
from blossom.training.loop import Settings, fit, mean_loss

__all__ = ["Settings", "estimate", "fit", "keep", "mean_loss"]
