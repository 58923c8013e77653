r"""Train stage 03 on several devices, from the notebook's own parameter files:

    accelerate launch --num_processes 2 -m blossom.training \
        --params params/scales/laptop.yaml --params params/recipes/blossom-bi.yaml

(On CPUs alone accelerate wants MPI; `torchrun --nproc_per_node 2 -m blossom.training ...` starts the same.)
Afterwards the notebook, with the same parameters, finds the finished training, merges it, and shows it.
"""

import argparse
import os

import torch
from accelerate import PartialState

from blossom.batch.estimate import estimate_run
from blossom.common import params, paths, shell, stages
from blossom.models.bits import measure_bits
from blossom.text.corpus import read_corpus
from blossom.training import pretraining
from blossom.training.loop import train_model
from blossom.training.settings import TrainingSettings


def launch_pretraining(words=None):
    """Train stage 03 by the words of a command line; None: the process's own."""
    launch_training(words, "blossom.training", pretraining.STAGE, "", _prepare_pretraining)


def _prepare_pretraining(p, shards):
    start = pretraining.find_start(p)
    estimate_run(p, start, p.batch_size, p.block_size, timed=False, shards=shards)
    text = read_corpus(p)
    model, tokenizer = pretraining.load_adapted(p, start)
    blocks, heldout = pretraining.mix_corpus(p, text, tokenizer), text.heldout()
    return model, blocks, lambda m: measure_bits(m, tokenizer, heldout)


def launch_training(words, module, stage, prefix, prepare):
    """Train a stage in this process and those started beside it.

    words    command line; None: the process's own;  module  its name in messages
    prefix   of the parameters that are training settings
    prepare  (parameters, devices that share the model) -> (model, dataset, evaluate) of `train_model`; the main process runs
             it first, since it downloads and stores files that the others then read
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description="A stage's training on one or several devices.")
    parser.add_argument("--params", action="append", default=[], metavar="FILE", help="a YAML file; later ones win")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter, above all files")
    asked = parser.parse_args(words)
    p = read_training_params(asked.params, asked.set, stages.STAGES[stage], f"{prefix}checkpoints")
    state = PartialState(cpu=not torch.cuda.is_available())  # joins this process to the others and picks its device
    shards = state.num_processes if os.environ.get("ACCELERATE_USE_FSDP") == "true" else 1
    with state.main_process_first():
        model, dataset, evaluate = prepare(p, shards)
    folder = paths.stage_folder(p.outputs, p.scale, p.recipe, stage)
    result = train_model(model, dataset, TrainingSettings.of(p, prefix), folder, evaluate)
    if state.is_main_process:
        print(f"{result['steps']} steps by {state.num_processes} processes, {result['tokens_per_second']:,.0f} tokens/s")
        print(f"finish: run notebooks/{stage}.ipynb with the same parameters")


def read_training_params(files, overrides, cls=stages.BilingualPretraining, checkpoints="checkpoints"):
    """A checked `cls` from YAML files and "name=value" words; ValueError names what is wrong.

    checkpoints  the parameter that says how often the state is saved: at least once, for the notebook continues from it
    """
    layered = {}
    for file in files:
        layered |= params.read_params(file)
    if wrong := [word for word in overrides if "=" not in word]:
        raise ValueError(f"--set {wrong[0]}: expected NAME=VALUE")
    layered |= params.parse_overrides(dict(word.split("=", 1) for word in overrides), "--set")
    p = params.build_params(cls, layered)
    if not getattr(p, checkpoints):
        raise ValueError(f"{checkpoints}: expected at least 1, found 0: the notebook continues from the last checkpoint")
    return p


if __name__ == "__main__":
    shell.run(launch_pretraining)
