"""Watching a run: what was seen and measured, when to measure and to save, when to stop."""

import os
import sys
import time

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback

from blossom.common import paths
from blossom.models.loading import pick_device
from blossom.training.packing import IGNORED


class Watch(TrainerCallback):
    """Counts tokens and seconds, calls `evaluate`, asks for checkpoints, reports a line every few steps."""

    def __init__(self, learner, settings, steps, every, evaluate, report):
        self.learner, self.settings, self.steps, self.every = learner, settings, steps, every
        self.evaluate, self.report = evaluate, report
        self.measured_at = _spread(settings.evaluations, steps)
        self.saved_at = {max(1, round(s / every)) * every for s in _spread(settings.checkpoints, steps)} - {steps}
        self.seen = {"tokens": 0, "labelled_tokens": 0, "seconds": 0.0, "loss": [], "during": [], "stopped": ""}
        self.clock = None
        self.bar = tqdm(total=steps, unit="step", disable=report is not print or not someone_looks())
        self.gather = lambda counts: counts  # over all processes
        self.log = lambda values: None  # to the trackers

    def count(self, batch):
        """Add a batch to the tallies."""
        counts = torch.stack([batch["tokens"].sum(), (batch["labels"][:, 1:] != IGNORED).sum()])[None]
        tokens, labelled = self.gather(counts).sum(0).tolist()
        self.seen["tokens"] += tokens
        self.seen["labelled_tokens"] += labelled

    def on_train_begin(self, args, state, control, **more):
        if not self.seen["during"]:
            self._measure(state, control)
        self.bar.update(state.global_step - self.bar.n)
        self.clock = time.perf_counter()

    def on_step_end(self, args, state, control, **more):
        self.bar.update()
        self.seen["seconds"] += time.perf_counter() - self.clock
        if state.global_step in self.measured_at or state.global_step == self.steps:
            self._measure(state, control)
        control.should_save = state.global_step in self.saved_at or (
            state.global_step == self.steps and self.settings.checkpoints > 0
        )
        self.clock = time.perf_counter()

    def on_save(self, args, state, control, **more):
        self.clock = time.perf_counter()

    def on_log(self, args, state, control, logs=None, **more):
        if "loss" not in logs:  # what _measure logs
            return
        self.seen["loss"].append({"step": state.global_step, "loss": logs["loss"], "gradient_norm": logs.get("grad_norm")})
        self.bar.set_postfix_str(f"{logs['loss']:.3f} nats/token")
        if not self.bar.disable:
            return
        if (state.global_step // self.every) % 5 == 0 or state.global_step == self.steps:
            rate = self.seen["tokens"] / max(self.seen["seconds"], 1e-9)
            left = self.seen["seconds"] / state.global_step * (self.steps - state.global_step)
            self.report(
                f"step {state.global_step}/{self.steps}  loss {logs['loss']:.3f} nats/token  "
                f"{rate:,.0f} tokens/s  {left:.0f} s left"
            )

    def _measure(self, state, control):
        if self.evaluate is None:
            return
        model = self.learner.model
        model.eval()
        with self.learner.whole():
            values = self.evaluate(model)
        model.train()
        self.seen["during"].append({"step": state.global_step, "tokens": self.seen["tokens"], **values})
        self.report(f"step {state.global_step}/{self.steps}  " + "  ".join(f"{k} {v:.3f}" for k, v in values.items()))
        self.log({f"heldout/{name}": value for name, value in values.items()})
        start, budget = self.seen["during"][0].get("english"), self.settings.forgetting_budget
        if budget and start and values["english"] > start * (1 + budget):
            self.seen["stopped"] = (
                f"step {state.global_step}: English rose from {start:.3f} to {values['english']:.3f}, "
                f"beyond forgetting_budget {budget}"
            )
            self.report(f"stopped at {self.seen['stopped']}")
            control.should_training_stop = True

    def result(self, step):
        self.bar.close()
        seconds = self.seen["seconds"]
        rate = self.seen["tokens"] / seconds if seconds else 0.0
        return self.seen | {
            "steps": step,
            "tokens_per_second": rate,
            "peak_bytes": paths.peak_bytes(),
            "device": pick_device().type,
        }


def _spread(count, steps):
    """`count` steps strictly between 0 and `steps`, evenly spread."""
    return {s for k in range(1, count + 1) if 0 < (s := round(k * steps / (count + 1))) < steps}


def someone_looks():
    """Is this a notebook in a browser or a terminal, where a bar can move? (Batch runs set BLOSSOM_BATCH: lines instead.)"""
    if os.environ.get("BLOSSOM_BATCH"):
        return False
    return "ipykernel" in sys.modules or sys.stderr.isatty()
