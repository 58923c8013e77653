"""The optimizers: AdamW, AdamW with 8-bit moments, and Muon with AdamW."""

import itertools

import torch


def make_optimizer(groups, settings):
    """The optimizer that the settings name, for groups of parameters with their learning rates."""
    words = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0}
    if settings.optimizer == "adamw_8bit":
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(groups, **words)
    return MuonAdamW(groups, words) if settings.optimizer == "muon" else torch.optim.AdamW(groups, **words, fused=True)


class MuonAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for matrices, AdamW for vectors and embedding rows (the group that has its own "eps").

    A step of Muon has the root mean square of one of AdamW's (arXiv:2502.16982, 2.2), so that one learning rate fits both.
    """

    def __init__(self, groups, words):
        super().__init__(groups, {})
        split = ([], [])  # AdamW's groups, Muon's
        for group, muon in itertools.product(groups, (False, True)):
            own = [p for p in group["params"] if (p.ndim == 2 and "eps" not in group) == muon]
            split[muon].extend([group | {"params": own}] if own else [])
        self.parts = [torch.optim.AdamW(split[0], **words, fused=True)] if split[0] else []
        self.parts += [torch.optim.Muon(split[1], weight_decay=0, adjust_lr_fn="match_rms_adamw")] if split[1] else []
        self.param_groups = [group for part in self.parts for group in part.param_groups]  # shared, as is the state
        for part in self.parts:
            part.state = self.state

    def step(self, closure=None):
        for part in self.parts:
            part.step()
