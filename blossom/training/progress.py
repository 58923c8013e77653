"""What a training has measured so far, and the lines that report it."""

from blossom.common import paths
from blossom.models.loading import pick_device


class Progress:
    """Collects what `train_model` returns in `seen` (JSON, part of every checkpoint) and reports it."""

    def __init__(self, steps, every, report):
        self.steps, self.every, self.say = steps, every, report or (lambda line: None)
        self.seen = {"tokens": 0, "labelled_tokens": 0, "seconds": 0.0, "loss": [], "during": [], "stopped": ""}

    def add_step(self, labelled, tokens, seconds):
        for name, value in (("labelled_tokens", labelled), ("tokens", tokens), ("seconds", seconds)):
            self.seen[name] += value

    def add_loss(self, step, loss, norm):
        """Record the mean loss (nats per labelled token) since the last call."""
        self.seen["loss"].append({"step": step, "loss": loss, "gradient_norm": norm})
        if (step // self.every) % 5 == 0 or step == self.steps:
            left, rate = self.seen["seconds"] / step * (self.steps - step), self._rate()
            self.say(f"step {step}/{self.steps}  loss {loss:.3f} nats/token  {rate:,.0f} tokens/s  {left:.0f} s left")

    def add_evaluation(self, step, values, budget):
        """Record an evaluation; set "stopped" when the loss of English rose beyond the forgetting budget."""
        self.seen["during"].append({"step": step, "tokens": self.seen["tokens"], **values})
        self.say(f"step {step}/{self.steps}  " + "  ".join(f"{name} {value:.3f}" for name, value in values.items()))
        start = self.seen["during"][0].get("english")
        if budget and start and values["english"] > start * (1 + budget):
            rise = f"English rose from {start:.3f} to {values['english']:.3f}, beyond forgetting_budget {budget}"
            self.seen["stopped"] = f"step {step}: {rise}"
            self.say(f"stopped at {self.seen['stopped']}")

    def result(self, step, rows):
        measured = {"tokens_per_second": self._rate(), "peak_bytes": paths.peak_bytes(), "device": pick_device().type}
        return self.seen | {"steps": step, "rows": rows} | measured

    def _rate(self):
        return self.seen["tokens"] / max(self.seen["seconds"], 1e-9)
