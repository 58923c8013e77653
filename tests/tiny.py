"""Tiny models and data that the tests of training share."""

import numpy as np
import torch

from blossom.models import adapters, loading
from blossom.training.settings import TrainingSettings

MODES = ("lora+new-rows", "lora+embeddings", "lora", "full")
BASES = ("tiny-byte-level", "tiny-sentencepiece")  # tied and untied embeddings
RATES = {"learning_rate": 1e-3, "row_learning_rate": 3e-3}
EXACT = TrainingSettings(batch_size=2, precision="float32", checkpoint_minutes=0, **RATES)  # saved after every step


def grown(base, **options):
    """(model, tokenizer): a tiny model ("NAME untied": with `untie_model`) with 40 new rows; the same at every call."""
    model, tokenizer = loading.load_model(base.removesuffix(" untied"), **options)
    if base.endswith(" untied"):
        assert loading.untie_model(model) == 600 * 64 and loading.untie_model(model) == 0
    torch.manual_seed(0)
    loading.resize_model(model, len(tokenizer) - 40, torch.randn(40, model.config.hidden_size) * 0.02)
    return model, tokenizer


def adapted(base="tiny-byte-level", mode="lora+new-rows", targets=("q_proj", "k_proj", "v_proj"), **options):
    """`grown`, ready to train; the same at every call."""
    model = adapters.adapt_model(grown(base, **options)[0], mode, rank=4, targets=targets)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first, which would hide a wrong gradient of A
            parameter.data.normal_(0, 0.1)
    return model


def some_rows(count=12, length=24, seed=0):
    generator = np.random.default_rng(seed)
    return [{"input_ids": i, "labels": i} for i in (generator.integers(10, 480, length) for _ in range(count))]
