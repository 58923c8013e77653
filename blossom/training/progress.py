"""What a training has seen and measured so far, and how it is shown: a progress bar, or lines in batch runs."""

import os
import sys

from tqdm.auto import tqdm

from blossom.common import paths
from blossom.models.loading import pick_device


class Progress:
    """Collects what `train_model` returns in `seen` (JSON, part of every checkpoint) and reports it meanwhile."""

    def __init__(self, steps, every, report):
        self.steps, self.every, self.say = steps, every, report or (lambda line: None)
        self.seen = {"tokens": 0, "labelled_tokens": 0, "seconds": 0.0, "loss": [], "during": [], "stopped": ""}
        self.bar = tqdm(total=steps, unit="step", disable=report is not print or not is_watched())

    def start(self, step):
        self.bar.update(step)

    def add_step(self, labelled, tokens, seconds):
        self.seen["labelled_tokens"] += labelled
        self.seen["tokens"] += tokens
        self.seen["seconds"] += seconds
        self.bar.update()

    def add_loss(self, step, loss, norm):
        """A mean loss since the last one, in nats a labelled token."""
        self.seen["loss"].append({"step": step, "loss": loss, "gradient_norm": norm})
        self.bar.set_postfix_str(f"{loss:.3f} nats/token")
        if self.bar.disable and ((step // self.every) % 5 == 0 or step == self.steps):
            left = self.seen["seconds"] / step * (self.steps - step)
            line = f"step {step}/{self.steps}  loss {loss:.3f} nats/token  {self._rate():,.0f} tokens/s  {left:.0f} s left"
            self.say(line)

    def add_evaluation(self, step, values, budget):
        """Record an evaluation; mark the training as stopped when English rose beyond the forgetting budget."""
        self.seen["during"].append({"step": step, "tokens": self.seen["tokens"], **values})
        self.say(f"step {step}/{self.steps}  " + "  ".join(f"{name} {value:.3f}" for name, value in values.items()))
        start = self.seen["during"][0].get("english")
        if budget and start and values["english"] > start * (1 + budget):
            rise = f"English rose from {start:.3f} to {values['english']:.3f}, beyond forgetting_budget {budget}"
            self.seen["stopped"] = f"step {step}: {rise}"
            self.say(f"stopped at {self.seen['stopped']}")

    def result(self, step):
        self.bar.close()
        more = {"steps": step, "tokens_per_second": self._rate(), "peak_bytes": paths.peak_bytes()}
        return self.seen | more | {"device": pick_device().type}

    def _rate(self):
        return self.seen["tokens"] / max(self.seen["seconds"], 1e-9)


def spread_steps(count, steps):
    """`count` steps strictly between 0 and `steps`, evenly spread."""
    return {s for k in range(1, count + 1) if 0 < (s := round(k * steps / (count + 1))) < steps}


def is_watched():
    """Is this a notebook in a browser or a terminal, where a bar can move? Batch runs set BLOSSOM_BATCH and get lines."""
    if os.environ.get("BLOSSOM_BATCH"):
        return False
    return "ipykernel" in sys.modules or sys.stderr.isatty()
