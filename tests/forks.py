"""Trainings in processes of their own, forked from one that has imported the libraries: a killed one, and two that share
the weights under accelerate's FSDP, on CPUs, by gloo: accelerate is told that these processes have GPUs.
"""

import itertools
import multiprocessing
import os
import signal
from contextlib import redirect_stdout

import peft  # noqa: F401
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from safetensors.torch import save_file
from torch.distributed.elastic.utils.distributed import get_free_port

from blossom.training import __main__ as launched
from blossom.training import checkpoints, loop
from tests.tiny import EXACT, adapted, some_rows

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__])


def run_forks(count, log, target, *words):
    """Call target(*words, rank) in `count` processes: their exit codes. What the first one prints is in `log`."""
    joined = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(get_free_port()), "WORLD_SIZE": str(count)}
    made = [SERVER.Process(target=_call, args=(joined, log, target, words, rank)) for rank in range(count)]
    for process in made:
        process.start()
    for process in made:
        process.join(300)
    return [process.exitcode for process in made]


def _call(environment, log, target, words, rank):
    os.environ |= environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    with open(os.devnull if rank else log, "w") as stream, redirect_stdout(stream):
        target(*words, rank)


def evaluate_once(m):
    return {"english": 1.0}


def train_killed(folder, rank):
    """Train, and be killed while a checkpoint is written."""

    def write_half(tensors, path):
        if "step-000004" in str(path):
            path.write_bytes(b"half a checkpoint")
            os.kill(os.getpid(), signal.SIGKILL)
        save_file(tensors, path)

    checkpoints.save_file = write_half
    loop.train_model(adapted(), some_rows(12), EXACT, folder, evaluate_once)


def train_sharded(words, environment, stop_after, rank):
    """Train. After `stop_after` steps (0: never) the process ends, as a kill does."""
    os.environ |= environment
    if rank:
        launched.read_corpus = None  # the first process alone prepares the text
    steps, make, count = itertools.count(1), PartialState.__init__, loop.Progress.add_step

    def as_if_on_cards(self, *words, **more):
        make(self, *words, **more)
        if self._shared_state["distributed_type"] == DistributedType.MULTI_CPU:
            self._shared_state["distributed_type"] = DistributedType.MULTI_GPU

    def add_step(self, *counts):
        count(self, *counts)
        if next(steps) == stop_after:
            os._exit(9)

    PartialState.__init__, loop.Progress.add_step = as_if_on_cards, add_step
    launched.launch_training(words)
    assert PartialState._shared_state["distributed_type"] == DistributedType.FSDP
