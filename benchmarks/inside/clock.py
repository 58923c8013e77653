"""What every measured training run is timed with, whichever tool runs it: standard library and torch alone."""

import json
import os
import sys
import time
from pathlib import Path

STARTED = time.time()


def spec():
    """The run's description, a JSON file named on the command line."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def arguments(asked):
    """What transformers' Trainer and TRL's are told alike, so that they do the same work."""
    return {
        "output_dir": asked["folder"],
        "per_device_train_batch_size": asked["batch"],
        "max_steps": asked["steps"],
        "learning_rate": 1e-3,
        "bf16": asked["bf16"],
        "use_cpu": not asked.get("cuda"),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


class Clock:
    """The time after each optimizer step, by torch's own hook that all optimizers call."""

    def __init__(self):
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self.ticks = []
        register_optimizer_step_post_hook(lambda *_: self.ticks.append(time.perf_counter()))

    def write(self, asked, **more):
        """Seconds a step (the warm-up steps left out), seconds from the process's start to the first step, peak memory."""
        warm, ticks = asked["warm_steps"], self.ticks[: asked["steps"]]
        if len(ticks) < warm + 1:
            raise RuntimeError(f"{len(ticks)} optimizer steps seen, {asked['steps']} asked for")
        result = {
            "seconds_per_step": (ticks[-1] - ticks[warm - 1]) / (len(ticks) - warm),
            "steps": len(ticks),
            "first_step_after": time.time() - STARTED - (time.perf_counter() - ticks[0]),
            "peak_bytes": cuda_bytes() if asked.get("cuda") else peak_bytes(),
            **more,
        }
        Path(asked["result"]).write_text(json.dumps(result), encoding="utf-8")
        os._exit(0)  # the tools' own saving and thread pools are not what is measured


def cuda_bytes():
    """The most memory of the card that torch has held."""
    import torch

    return torch.cuda.max_memory_allocated()


def peak_bytes():
    """The most memory this process has held. (`getrusage` would count what its parent held before it was started.)"""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")
