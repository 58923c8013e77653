"""Train stage 03 on several devices, with the notebook's parameter files (docs/cluster.md, part 5).

On CPUs alone use `torchrun --nproc_per_node 2 -m blossom.training ...`, since accelerate needs MPI there.
"""

import argparse
import os
from datetime import timedelta
from functools import partial

import torch
from accelerate import PartialState
from torch import distributed

from blossom.batch.estimate import estimate_run
from blossom.common import params, paths, shell, stages
from blossom.models.bits import measure_bits
from blossom.text.corpus import draw_bytes, read_corpus
from blossom.training import pretraining
from blossom.training.loop import train_model
from blossom.training.settings import TrainingSettings
from blossom.vocabulary.loading import load_tokenizer


def launch_pretraining(words=None):
    """Train stage 03 from the words of a command line; None takes this process's own."""
    launch_training(words, "blossom.training", pretraining.STAGE, "", _prepare_pretraining, _build_pretraining)


def _prepare_pretraining(p, shards):
    start = pretraining.find_start(p)
    estimate_run(p, start, p.batch_size, p.block_size, shards=shards)
    text = read_corpus(p)
    heldout = {name: draw_bytes(lines, p.measured_bytes) for name, lines in text.heldout().items()}
    return pretraining.mix_corpus(p, text, load_tokenizer(start)), heldout


def _build_pretraining(p, prepared):
    blocks, heldout = prepared
    model, tokenizer = pretraining.load_adapted(p, pretraining.find_start(p))
    return model, blocks, partial(measure_bits, tokenizer=tokenizer, texts=heldout)


def launch_training(words, module, stage, prefix, prepare, build):
    """Train a stage in this process and the other processes started with it.

    words, module, prefix  of a command line (None: this process's own); the program's name; of parameters that are settings
    prepare  function (parameters, shards) -> what is trained on; called in the first process alone and sent to the others
    build    function (parameters, what is trained on) -> (model, dataset, evaluate) for `train_model`
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description="A stage's training on one or several devices.")
    parser.add_argument("--params", action="append", default=[], metavar="FILE", help="a YAML file; later ones win")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter, above all files")
    asked = parser.parse_args(words)
    p = read_training_params(asked.params, asked.set, stages.STAGES[stage])
    params.require_stage(p.recipe, stage)
    state = PartialState(cpu=not torch.cuda.is_available())  # joins this process to the others and picks its device
    shards = state.num_processes if os.environ.get("ACCELERATE_USE_FSDP") == "true" else 1
    folder = paths.unfinished_folder(paths.stage_folder(p.outputs, p.scale, p.recipe, stage))
    # their own group, since preparing may take longer than processes wait for each other in training; gloo waits idly
    group = distributed.new_group(timeout=timedelta(days=30), backend="gloo") if state.num_processes > 1 else None
    prepared = [prepare(p, shards) if state.is_main_process else None]
    if group:
        distributed.broadcast_object_list(prepared, group=group)
    model, dataset, evaluate = build(p, prepared[0])
    result = train_model(model, dataset, TrainingSettings.of(p, prefix), folder, evaluate)
    if state.is_main_process:
        print(f"{result['steps']} steps by {state.num_processes} processes, {result['tokens_per_second']:,.0f} tokens/s")
        print(f"finish: run notebooks/{stage}.ipynb with the same parameters")


def read_training_params(files, overrides, cls=stages.BilingualPretraining):
    """Read a checked `cls` from YAML files and "name=value" words."""
    layered = {}
    for file in files:
        layered |= params.read_params(file)
    if wrong := [word for word in overrides if "=" not in word]:
        raise ValueError(f"--set {wrong[0]}: expected NAME=VALUE")
    layered |= params.parse_overrides(dict(word.split("=", 1) for word in overrides), "--set", of_run=True)
    return params.build_params(cls, layered)


if __name__ == "__main__":
    shell.run(launch_pretraining)
