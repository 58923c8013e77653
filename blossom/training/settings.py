"""The settings of a training, and what a CUDA card can do besides: Liger's kernels and an 8-bit optimizer (extra `cuda`)."""

import importlib.util
from dataclasses import dataclass, fields

import torch

OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}  # name -> transformers' own


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; a step is an optimizer update."""

    learning_rate: float = 1e-3  # of the adapters, or of everything when full
    row_learning_rate: float = 1e-3  # of trained embedding rows
    row_epsilon: float = 1e-8  # Adam's for the rows: a gradient far below it moves a row hardly at all
    batch_size: int = 2  # sequences a forward pass
    accumulation: int = 1  # forward passes an update
    epochs: float = 1.0  # times each sequence is seen; parts of an epoch are allowed
    warmup: float = 0.05  # share of the steps with a rising rate; then it falls along a cosine
    evaluations: int = 0  # times `evaluate` is called between the start and the end
    checkpoints: int = 0  # times the whole state is saved between the start and the end
    precision: str = "auto"  # see pick_dtype
    activation_checkpointing: bool = False
    liger: bool = False  # Liger's fused kernels for norms, rotations and the feed-forward part; CUDA
    optimizer: str = "adamw"  # "adamw_8bit" keeps the moments in 8 bits; CUDA
    report_to: str = ""  # "tensorboard" writes curves to the run's folder too
    forgetting_budget: float = 0.0  # stop when evaluate()["english"] has risen by this share; 0 never
    seed: int = 0

    @classmethod
    def of(cls, p, prefix=""):
        """The settings in a notebook's parameters; `prefix` ("sft_") goes before the names that have such a twin."""
        names = [f.name for f in fields(cls)]
        given = {name: getattr(p, prefix + name, getattr(p, name, None)) for name in names}
        return cls(**{name: value for name, value in given.items() if value is not None})


def check_options(settings):
    """Raise ValueError when the settings ask for what this machine does not have, naming parameter and package."""
    asked = [("liger: true", "liger_kernel", "liger-kernel", "liger: false")] if settings.liger else []
    if settings.optimizer == "adamw_8bit":
        asked.append(("optimizer: adamw_8bit", "bitsandbytes", "bitsandbytes", "optimizer: adamw"))
    for parameter, module, package, instead in asked:
        if not torch.cuda.is_available():
            raise ValueError(f"{parameter} needs a CUDA card, and there is none here; set {instead}")
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"{parameter} needs {package}: `pip install {package}` (or `.[cuda]`), or set {instead}")


def check_anchor(p):
    """Raise ValueError when a stage's parameters ask for an English anchor beside base rows that move."""
    anchor = getattr(p, "english_anchor", 0)  # stage 04 has none
    if anchor and p.trainable != "lora+new-rows":
        raise ValueError(
            f"english_anchor: expected 0 with trainable: {p.trainable}, found {anchor}; it asks the base what to "
            "expect, so the base's own rows must stay as they are (lora+new-rows)"
        )


def use_liger(model):
    """Put Liger's kernels into a model's layers, in place; the loss stays ours, which makes logits for labels alone."""
    from transformers.integrations.liger import apply_liger_kernel

    apply_liger_kernel(model, {"cross_entropy": False, "fused_linear_cross_entropy": False})
