"""What a CUDA card can do besides: Liger's kernels and an 8-bit optimizer, both packages of their own (extra `cuda`)."""

import importlib.util

import torch

OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}  # name -> transformers' own


def check(settings):
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
