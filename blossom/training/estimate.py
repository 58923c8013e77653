"""What a training will take, before anything is loaded: seconds and bytes, from the model's shape and the machine."""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from blossom import assets, models

LIBRARIES = 0.85e9  # bytes that Python, torch and transformers hold by themselves
PRODUCTS_SHARE = 0.40  # of a step's time that its matrix products take at full speed, measured (make bench-train)


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

    Products: a weight costs 2 operations a token forward, 2 for the gradient of its input, 2 more for its own where it
    learns; an embedding table is one product (the head). Memory: weights, 16 bytes for each number that learns (itself,
    its gradient, two moments), what a layer keeps for its backward pass; then, at the end, the stored model twice.
    """
    model, stored = _shape(start)
    config, dtype = model.config, models.dtype(p.precision)
    width, table = torch.finfo(dtype).bits // 8, model.get_input_embeddings().weight.numel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        share = models.trainable_share(models.adapt(model, p.trainable, p.lora_rank, p.lora_alpha, p.lora_targets))
    frozen = share["all"] - share["trained"]
    inside = share["all"] - table * (1 if config.tie_word_embeddings else 2)  # the weights of the layers
    learnt = {"full": share["all"], "lora+embeddings": table}.get(p.trainable, 0)
    operations = 2 * tokens * (2 * (inside + table) + learnt)
    key_values = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    layer = 6 * config.hidden_size + 4 * key_values + 6 * config.intermediate_size
    layers = 2 if p.activation_checkpointing else config.num_hidden_layers
    training = width * frozen + 16 * share["trained"] + 1.3 * width * batch_tokens * layer * layers
    memory = LIBRARIES + max(training, 2.0 * stored + width * frozen)
    return Estimate(operations / (_products_per_second(config, dtype, batch_tokens) * PRODUCTS_SHARE), memory, _free())


def _shape(start):
    """The model of a folder without its weights, and the bytes of its weights on disk."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = Path(assets.fetch(str(start)))
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return model, sum(f.stat().st_size for f in folder.glob("*.safetensors"))


def _products_per_second(config, dtype, tokens, seconds=0.5):
    """Operations a second of the feed-forward product at this batch, over weights that the cache does not hold."""
    place, inner = models.device(), config.intermediate_size
    x = torch.randn(min(tokens, 2048), config.hidden_size, device=place).to(dtype)
    weights = [torch.randn(config.hidden_size, inner, device=place).to(dtype) for _ in range(8)]
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        for w in weights:
            y = x @ w
        y[0, 0].item()  # a GPU has finished then
        best = min(best, time.perf_counter() - start)
    return 2 * x.numel() * inner * len(weights) / best


def _free():
    """Bytes that this machine (or its card) can still give."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().available
