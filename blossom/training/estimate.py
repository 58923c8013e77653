"""What a training will take, before anything is loaded: seconds and bytes, from the model's shape and the machine."""

import statistics
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from blossom import assets, models

LIBRARIES = 0.85e9  # bytes that Python, torch and transformers hold by themselves
PRODUCTS_SHARE = {"cpu": 0.37, "cuda": 0.45}  # of a step's time that its matrix products take by themselves, measured


@dataclass(frozen=True)
class Estimate:
    """A training's seconds (evaluations apart), its bytes at the peak, and the bytes this machine has to give."""

    seconds: float
    memory: float
    free: float

    def __str__(self):
        text = f"Training takes about {self.seconds / 60:.1f} minutes and {self.memory / 1e9:.1f} GB of memory"
        return text + f" (free: {self.free / 1e9:.1f} GB)."

    def check(self):
        """Raise MemoryError, naming the parameters to lower, when the run cannot fit."""
        if self.memory > self.free:
            raise MemoryError(
                f"{self} Lower batch_size or block_size, take `trainable: lora+new-rows`, "
                "or set activation_checkpointing: true."
            )
        return self


def estimate(p, start, tokens, batch_tokens):
    """An Estimate for training from the model in folder (or asset) `start`.

    p             parameters with trainable, lora_rank, lora_alpha, lora_targets, precision, activation_checkpointing
    tokens        to train on, in all;  batch_tokens  in one forward pass

    Time: every matrix product of a step is timed by itself, at its own size. Memory: weights, 16 bytes for each number
    that learns (itself, its gradient, two moments), what a layer keeps for its backward pass; then, at the end, the
    stored model twice.
    """
    model, stored = _shape(start)
    config, dtype = model.config, models.dtype(p.precision)
    width = torch.finfo(dtype).bits // 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        share = models.trainable_share(models.adapt(model, p.trainable, p.lora_rank, p.lora_alpha, p.lora_targets))
    frozen = share["all"] - share["trained"]
    key_values = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    layer = 6 * config.hidden_size + 4 * key_values + 6 * config.intermediate_size
    layers = 2 if p.activation_checkpointing else config.num_hidden_layers
    training = width * frozen + 16 * share["trained"] + 1.3 * width * batch_tokens * layer * layers
    memory = LIBRARIES + max(training, 2.0 * stored + width * frozen)
    anchored = getattr(p, "english_anchor", 0.0) * (1 - getattr(p, "korean_share", 0.0))
    step = product_seconds(config, dtype, batch_tokens, p.trainable, anchored)
    return Estimate(tokens / batch_tokens * step / PRODUCTS_SHARE[models.device().type], memory, _free())


def product_seconds(config, dtype, tokens, trainable="lora+new-rows", anchored=0.0):
    """Seconds that the matrix products of one step take by themselves: the ceiling of what a loop can reach here.

    config    of a Llama-like model;  tokens  in a step
    anchored  share of the tokens for which the base is asked too
    Counted: the layers' projections forward and for the gradient of their input, the head's two, and where a table or
    all weights learn, their own gradient. Left out: adapters and attention, a few parts in a hundred.
    """
    d, inner = config.hidden_size, config.intermediate_size
    width = getattr(config, "head_dim", None) or d // config.num_attention_heads
    heads, both = width * config.num_attention_heads, width * (config.num_attention_heads + 2 * config.num_key_value_heads)
    passes = 3 if trainable == "full" else 2
    forward = sum(_seconds(tokens, *size, dtype) for size in ((d, both), (heads, d), (d, 2 * inner), (inner, d)))
    head = _seconds(tokens, d, config.vocab_size, dtype, copies=1)
    heads_passes = 2 if trainable == "lora+new-rows" else 3
    return config.num_hidden_layers * forward * (passes + anchored) + head * (heads_passes + 2 * anchored)


def _seconds(m, k, n, dtype, copies=8, seconds=0.1):
    """Median seconds of a product (m, k) @ (k, n), over weights that the cache does not hold."""
    place = models.device()
    x = torch.randn(m, k, device=place).to(dtype)
    weights = [torch.randn(n, k, device=place).to(dtype) for _ in range(copies)]
    found, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(found) < 3:
        start = time.perf_counter()
        for w in weights:
            y = x @ w.t()
        y[0, 0].item()  # a GPU has finished then
        found.append((time.perf_counter() - start) / copies)
    return statistics.median(found)


def _shape(start):
    """The model of a folder without its weights, and the bytes of its weights on disk."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = Path(assets.fetch(str(start)))
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return model, sum(f.stat().st_size for f in folder.glob("*.safetensors"))


def _free():
    """Bytes that this machine (or its card) can still give."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().available
