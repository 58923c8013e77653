"""The settings of a training, and the checks of what they ask for."""

import importlib.util
import os
from dataclasses import fields

import torch

from blossom.common import paths
from blossom.common.stages import make_class

FROZEN_ROWS = ("lora", "lora+new-rows")  # values of `trainable` that leave the base's own embedding rows as they were
ROWS = paths.read_yaml_beside(__file__)


class TrainingSettings(make_class("TrainingSettings", rows=ROWS)):
    """How to train; a step is an optimizer update. The settings are in settings.yaml."""

    @classmethod
    def of(cls, p, prefix=""):
        """The settings among a stage's parameters; a name with the prefix ("sft_") is used before the one without."""
        names = [f.name for f in fields(cls)]
        given = {name: getattr(p, prefix + name, getattr(p, name, None)) for name in names}
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
    for name, value, instead, module in ROWS["needs"]:
        if str(getattr(p, name, "")).lower() == value:
            package, card = module.replace("_", "-"), name == "quantize" or torch.cuda.is_available()
            if not card or importlib.util.find_spec(module) is None:
                needs = f"{package}: `pip install {package}` (or `.[cuda]`)" if card else "a CUDA card: there is none here"
                raise ValueError(f"{name}: {value} needs {needs}; or set {name}: {instead}")


def check_anchor(p):
    """Raise ValueError for an anchor while the base model's own rows are trained: its target is the base model's output."""
    anchor = getattr(p, "english_anchor", 0)  # stage 04 has none
    if anchor and p.trainable not in FROZEN_ROWS:
        reason = "the anchor needs the base's own rows as they were; take lora or lora+new-rows"
        raise ValueError(f"english_anchor: expected 0 with trainable: {p.trainable}, found {anchor}; {reason}")
