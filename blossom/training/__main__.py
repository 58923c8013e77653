r"""Stage 03's training on several devices, from the notebook's own parameter files:

    accelerate launch --num_processes 2 -m blossom.training \
        --params params/scales/laptop.yaml --params params/recipes/blossom-bi.yaml

(On processors alone accelerate wants MPI; `torchrun --nproc_per_node 2 -m blossom.training ...` starts the same.)
Afterwards the notebook, with the same parameters, finds the finished training, merges it, and shows it.
"""

import argparse
import os

import torch
from accelerate import PartialState

from blossom.common import params, paths, shell, stages
from blossom.models.bits import measure_bits
from blossom.text.corpus import read_corpus
from blossom.training import pretraining
from blossom.training.estimate import estimate
from blossom.training.loop import train_model
from blossom.training.settings import TrainingSettings


def main(words=None):
    p = asked_for(words, "blossom.training")
    state = PartialState(cpu=not torch.cuda.is_available())  # takes this process's place among the others, and its card
    folder = paths.stage_folder(p.outputs, p.scale, p.recipe, pretraining.STAGE)
    with state.main_process_first():  # downloads and tokenizes once; the others read what it left
        start = pretraining.find_start(p)
        shards = state.num_processes if os.environ.get("ACCELERATE_USE_FSDP") == "true" else 1
        estimate(p, start, p.batch_size, p.block_size, timed=False, shards=shards).check()
        text = read_corpus(p)
        model, tokenizer = pretraining.load_adapted(p, start)
        blocks = pretraining.mix_corpus(p, text, tokenizer)
    heldout = text.heldout()
    settings = TrainingSettings.of(p)
    result = train_model(model, blocks, settings, folder, lambda m: measure_bits(m, tokenizer, heldout))
    if state.is_main_process:
        print(f"{result['steps']} steps by {state.num_processes} processes, {result['tokens_per_second']:,.0f} tokens/s")
        print(f"finish: run notebooks/{pretraining.STAGE}.ipynb with the same parameters")


def asked_for(words, module, *stage):
    """The checked parameters in the words of a command line; `stage` as in `parameters`."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description="A stage's training on one or several devices.")
    parser.add_argument("--params", action="append", default=[], metavar="FILE", help="a YAML file; later ones win")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter, above all files")
    asked = parser.parse_args(words)
    return parameters(asked.params, asked.set, *stage)


def parameters(files, overrides, cls=stages.BilingualPretraining, checkpoints="checkpoints"):
    """A checked `cls` from YAML files and "name=value" words; ValueError names what is wrong.

    checkpoints  the parameter of `cls` that says how often the state is saved
    """
    layered = {}
    for file in files:
        layered |= params.read_params(file)
    for word in overrides:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"--set {word}: expected NAME=VALUE")
        layered |= params.parse_overrides({name: value}, "--set")
    p = params.build_params(cls, layered)
    if not getattr(p, checkpoints):
        raise ValueError(
            f"{checkpoints}: expected at least 1, found 0: the notebook takes the training over from its last one"
        )
    return p


if __name__ == "__main__":
    shell.run(main)
