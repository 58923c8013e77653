"""`python -m blossom.training` under accelerate's FSDP on CPUs, by gloo: accelerate is told that these processes have GPUs.

STOP_AFTER=5 in the environment ends the process, as a kill does, after the fifth step.
"""

import os
import sys

from accelerate import PartialState
from accelerate.utils import DistributedType

from blossom.training import __main__ as launched
from blossom.training import loop

make = PartialState.__init__


def as_if_on_cards(self, *words, **more):
    make(self, *words, **more)
    if PartialState._shared_state["distributed_type"] == DistributedType.MULTI_CPU:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


class Stopping(loop.Progress):
    steps_done = 0

    def add_step(self, *counts):
        super().add_step(*counts)
        self.steps_done += 1
        if self.steps_done == int(os.environ.get("STOP_AFTER", 0)):
            os._exit(9)


if os.environ["RANK"] != "0":
    launched.read_corpus = None  # the first process alone prepares the text
PartialState.__init__ = as_if_on_cards
loop.Progress = Stopping
launched.launch_pretraining(sys.argv[1:])
assert PartialState._shared_state["distributed_type"] == DistributedType.FSDP
