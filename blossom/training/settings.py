"""The settings of a training, and the checks of what they ask for."""

import importlib.util
import os
from dataclasses import dataclass, fields

import torch

FROZEN_ROWS = ("lora", "lora+new-rows")  # values of `trainable` that leave the base's own embedding rows as they were
NEEDS = [("liger", "true", "false", "liger_kernel"), ("optimizer", "adamw_8bit", "adamw", "bitsandbytes")]
NEEDS += [("quantize", "nf4", "none", "bitsandbytes")]  # setting, value, what needs nothing, module


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; a step is an optimizer update."""

    learning_rate: float = 1e-3  # of the adapters; when full, of all but the embedding tables
    row_learning_rate: float = 1e-3  # of trained embedding rows
    row_epsilon: float = 1e-8  # Adam's epsilon for the rows: gradients far below it hardly move a row
    batch_size: int = 2  # sequences a forward pass
    accumulation: int = 1  # forward passes an update
    epochs: float = 1.0  # times each sequence is read; may be a fraction
    warmup: float = 0.05  # share of the steps with a rising rate
    schedule: str = "cosine"  # of the rate after them: "cosine", or "wsd", constant until it falls in the last fifth
    evaluations: int = 0  # times `evaluate` is called between the start and the end
    checkpoint_minutes: float = 10.0  # between two saves of the whole state; it is saved at the end too
    precision: str = "auto"  # see pick_dtype
    activation_checkpointing: bool = False
    liger: bool = False  # Liger's fused kernels for norms, rotary embeddings and the feed-forward part; CUDA
    optimizer: str = "adamw"  # "adamw_8bit" keeps the moments in 8 bits; CUDA. "muon": see MuonAdamW
    report_to: str = ""  # "tensorboard" writes curves to the run's folder too
    forgetting_budget: float = 0.0  # stop when evaluate()["english"] has risen by this share; 0 never
    seed: int = 0

    @classmethod
    def of(cls, p, prefix=""):
        """The settings among a stage's parameters; a name with the prefix ("sft_") is used before the one without."""
        given = {f.name: getattr(p, prefix + f.name, getattr(p, f.name, None)) for f in fields(cls)}
        return cls(**{name: value for name, value in given.items() if value is not None})


def check_options(p):
    """Raise ValueError when a setting or a stage's parameter lacks a GPU or package, or does not go with another one."""
    sharded, quantize = os.environ.get("ACCELERATE_USE_FSDP") == "true", getattr(p, "quantize", "none")
    if quantize != "none" and (sharded or p.trainable == "full"):
        reason = "FSDP cannot share such weights: take params/accelerate/ddp.yaml" if sharded else "found trainable: full"
        raise ValueError(f"quantize: {quantize} is for weights that are not trained; {reason}, or set quantize: none")
    if sharded and getattr(p, "optimizer", "") == "muon":
        reason = "it needs whole matrices, which FSDP shares out: take params/accelerate/ddp.yaml"
        raise ValueError(f"optimizer: muon: {reason}, or set optimizer: adamw")
    for name, value, instead, module in NEEDS:
        if str(getattr(p, name, "")).lower() == value:
            package, card = module.replace("_", "-"), name == "quantize" or torch.cuda.is_available()
            if not card or importlib.util.find_spec(module) is None:
                needs = f"{package}: `pip install {package}` (or `.[cuda]`)" if card else "a CUDA card: there is none here"
                raise ValueError(f"{name}: {value} needs {needs}; or set {name}: {instead}")
    anchor = getattr(p, "english_anchor", 0)  # stage 04 has none; its targets are the base's predictions
    if anchor and p.trainable not in FROZEN_ROWS:
        reason = "the anchor needs the base's own rows as they were; take lora or lora+new-rows"
        raise ValueError(f"english_anchor: expected 0 with trainable: {p.trainable}, found {anchor}; {reason}")
