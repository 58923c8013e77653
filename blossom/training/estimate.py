"""What a training will take, before its model is loaded: bytes from the model's shape, speed from a few steps of one.

Products timed by themselves say little about a step: what lies between them is most of it here, and its share differs
from machine to machine. So some steps are really taken, by a model of the same shape with fewer layers and random weights.
"""

import copy
import statistics
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from blossom.assets.registry import fetch_asset
from blossom.assets.safety import check_config
from blossom.models.adapters import adapt_model, trainable_share
from blossom.models.loading import pick_device, pick_dtype
from blossom.training import tables
from blossom.training.cpu import attention, decoder
from blossom.training.learner import Learner
from blossom.training.packing import IGNORED
from blossom.training.settings import check_anchor, check_options

LIBRARIES = 0.85e9  # bytes that Python, torch and transformers hold by themselves
LAYERS = 8  # of the larger of the two models that are timed; the smaller has one
SECONDS = 3.0  # of timing, at the least


@dataclass(frozen=True)
class Estimate:
    """A training's bytes at the peak, the bytes this machine has to give, what would lower them; tokens a second.

    tokens_per_second is 0 where nothing was timed, as when it cannot fit. Evaluations and checkpoints come on top.
    """

    memory: float
    free: float
    lower: str
    tokens_per_second: float

    def __str__(self):
        text = f"Training takes about {self.memory / 1e9:.1f} GB of memory (free: {self.free / 1e9:.1f} GB)"
        return text + (f" and goes at about {self.tokens_per_second:,.0f} tokens/s." if self.tokens_per_second else ".")

    @property
    def fits(self):
        return self.memory <= self.free

    def seconds(self, tokens):
        """How long some tokens take."""
        return tokens / self.tokens_per_second

    def check(self):
        """Itself; MemoryError, naming the parameters to lower, when the training cannot fit."""
        if not self.fits:
            raise MemoryError(f"{self} To make it fit: {self.lower}.")
        return self


def estimate(p, start, batch, length, longest=0, labelled=1.0, timed=True, shards=1):
    """An Estimate for training from the model in folder (or asset) `start`.

    p              parameters with trainable, lora_rank, lora_alpha, lora_targets, precision, activation_checkpointing
    batch, length  sequences of a forward pass, and their tokens;  longest  the longest's, where they differ
    labelled       share of the tokens that are learnt
    timed          False leaves the speed out;  shards  devices that share the weights and what learns (FSDP)

    Memory: weights, 16 bytes for each number that learns (itself, its gradient, two moments), what a layer keeps for its
    backward pass; or, at the end, the stored model twice.
    """
    check_options(p)
    check_anchor(p)
    config, share, stored = _shape(p, start)
    width = torch.finfo(pick_dtype(p.precision)).bits // 8
    frozen = width * (share["all"] - share["trained"])
    kept = _activations(p, config, width, batch, max(length, longest), labelled, share["trained"])
    training = (frozen + 16 * share["trained"]) / shards + kept
    merging = pick_device().type == "cpu" and shards == 1  # it is done in the machine's memory, never on a card
    apart = 2.0 * stored + frozen if merging else stored  # the latter: loading
    memory, free = LIBRARIES + max(training, apart), free_bytes()
    speed = batch * length / _step(p, config, batch, length, labelled) if timed and memory <= free else 0.0
    return Estimate(memory, free, _lower(p), speed)


def _activations(p, config, width, batch, length, labelled, trained):
    """Bytes that the layers and the loss keep of a batch for their backward passes."""
    tokens, heads = batch * length, config.num_attention_heads
    hidden, inner = config.hidden_size, config.intermediate_size
    key_values = config.num_key_value_heads * hidden // heads
    if pick_device().type != "cpu" or p.activation_checkpointing or p.trainable == "full" or length > decoder.LONGEST:
        layer = 6 * hidden + 4 * key_values + 6 * inner
        return 1.3 * width * tokens * layer * (2 if p.activation_checkpointing else config.num_hidden_layers)
    keys = (length + min(attention.BLOCK, length)) / 2  # that a query sees, on the average
    layer = 3 * hidden + 2 * key_values + 2 * inner + heads * keys + (hidden if "o_proj" in p.lora_targets else 0)
    predicted = min(tokens * labelled, tables.TILE["cpu"][0])
    tiles = predicted * min(trained / hidden, config.vocab_size)  # exponentials of the rows that learn
    return 1.05 * width * (tokens * layer * config.num_hidden_layers + tiles)


def _lower(p):
    """What would make a training smaller, by the names of the stage's own parameters."""
    names = ("batch_size", "block_size", "sft_batch_size", "sequence_length", "lora_rank")
    ways = [f"lower {', '.join(name for name in names if hasattr(p, name))}"]
    ways += ["take `trainable: lora+new-rows`"] if p.trainable != "lora+new-rows" else []
    ways += ["set `activation_checkpointing: true`"] if not p.activation_checkpointing else []
    return ", ".join([*ways, "or choose a smaller `base_model`"])


def _shape(p, start):
    """(config, trained and all parameters, bytes on disk) of the model in a folder; its weights stay there."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = Path(fetch_asset(str(start)))
    check_config(folder, start)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        share = trainable_share(_adapted(p, AutoModelForCausalLM.from_config(config)))
    return config, share, sum(f.stat().st_size for f in folder.glob("*.safetensors"))


def _adapted(p, model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return adapt_model(model, p.trainable, p.lora_rank, p.lora_alpha, p.lora_targets)


def _step(p, config, batch, length, labelled):
    """Seconds of one step: medians of steps with one layer and with some, and as many more as the model has."""
    anchored = getattr(p, "english_anchor", 0.0) * (1 - getattr(p, "korean_share", 0.0))  # of the sequences
    sizes = sorted({1, min(LAYERS, config.num_hidden_layers)})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        steps = [_stepper(p, config, layers, batch, length, labelled) for layers in sizes]
        kinds = [(step, ask) for step in steps for ask in ([False, True] if anchored else [False])]
        times, until = {kind: [] for kind in kinds}, None
        while until is None or time.perf_counter() < until or min(map(len, times.values())) < 4:
            for step, ask in kinds:  # in turns, so that a slow moment of the machine meets all of them
                times[step, ask].append(step(ask))
            until = until or time.perf_counter() + SECONDS
    middle = {kind: statistics.median(found[1:]) for kind, found in times.items()}  # the first is warming up
    seconds = [(1 - anchored) * middle[step, False] + anchored * middle.get((step, True), 0.0) for step in steps]
    if len(sizes) == 1:
        return seconds[0]
    layer = max(0.0, (seconds[1] - seconds[0]) / (sizes[1] - 1))
    return seconds[0] + layer * (config.num_hidden_layers - 1)


def _stepper(p, config, layers, batch, length, labelled):
    """A function that takes a training step with a model of so many layers (anchored or not) and says its seconds."""
    from transformers import AutoModelForCausalLM

    config, place = copy.deepcopy(config), pick_device()
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    with place:
        model = AutoModelForCausalLM.from_config(config, dtype=pick_dtype(p.precision))
        ids = torch.randint(config.vocab_size, (batch, length))
    learner = Learner(_adapted(p, model), p.precision, p.activation_checkpointing).to(place).train()
    labels = ids.masked_fill(torch.arange(length, device=place) >= max(2, round(length * labelled)), IGNORED)
    optimizer = torch.optim.AdamW([q for q in learner.parameters() if q.requires_grad], lr=1e-6, fused=True)

    def step(anchored):
        start = time.perf_counter()
        loss = learner(ids, labels, anchored=torch.full((batch,), anchored, device=place))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        if place.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return step


def free_bytes():
    """Bytes that this machine (its card; the container it runs in) can still give."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    return min(psutil.virtual_memory().available, _container())


def _container(folder=Path("/sys/fs/cgroup")):
    """Bytes left of a container's limit; infinite where there is none."""
    try:
        limit, used = ((folder / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return float("inf")
    cached = next((int(line.split()[1]) for line in _lines(folder / "memory.stat") if line.startswith("inactive_file")), 0)
    return float("inf") if limit == "max" else int(limit) - int(used) + cached


def _lines(file):
    return file.read_text().splitlines() if file.exists() else []
