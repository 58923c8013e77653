"""Train stage 03 or 04 on several devices, with the notebook's parameter files (docs/cluster.md, part 5).

On CPUs alone use `torchrun --nproc_per_node 2 -m blossom.training ...`, since accelerate needs MPI there.
"""

import os
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from torch import distributed

from blossom.batch.estimate import estimate_run
from blossom.common import params, paths, runs, shell, stages
from blossom.instructions.dataset import choose_examples, encode_examples
from blossom.models.bits import measure_bits
from blossom.text.corpus import draw_bytes, read_corpus
from blossom.training import learner, loop, packing, pretraining, settings
from blossom.vocabulary.loading import load_tokenizer


def launch_training(words=None):
    """Train a stage in this process and the others started with it, from the words of a command line (None: its own).

    What is trained on is prepared in the first process alone and sent to the others.
    """
    asked = shell.read_words(__file__, words)
    p = read_training_params(asked.params, asked.set, stages.STAGES[asked.stage])
    params.require_stage(p.recipe, asked.stage)
    tunes = asked.stage == stages.TUNED
    state = PartialState(cpu=not torch.cuda.is_available())  # joins this process to the others and picks its device
    shards = state.num_processes if os.environ.get("ACCELERATE_USE_FSDP") == "true" else 1
    folder = paths.unfinished_folder(paths.stage_folder(p.outputs, p.scale, p.recipe, asked.stage))
    # their own group, since preparing may take longer than processes wait for each other in training; gloo waits idly
    group = distributed.new_group(timeout=timedelta(days=30), backend="gloo") if state.num_processes > 1 else None
    prepared = [(prepare_tuning if tunes else prepare_pretraining)(p, shards) if state.is_main_process else None]
    if group:
        distributed.broadcast_object_list(prepared, group=group)
    model, dataset, evaluate = (build_tuning if tunes else build_pretraining)(p, prepared[0])
    result = loop.train_model(model, dataset, settings.TrainingSettings.of(p, "sft_" if tunes else ""), folder, evaluate)
    if state.is_main_process:
        print(f"{result['steps']} steps by {state.num_processes} processes, {result['tokens_per_second']:,.0f} tokens/s")
        print(f"finish: run notebooks/{asked.stage}.ipynb with the same parameters")


def read_training_params(files, overrides, cls=stages.BilingualPretraining):
    """Read a checked `cls` from YAML files, of which a scale's and a recipe's name these, and "name=value" words."""
    layered = {}
    for file in map(Path, files):
        named = {"scales": "scale", "recipes": "recipe"}.get(file.parent.name)
        layered |= ({named: file.stem} if named else {}) | params.read_params(file)
    if wrong := [word for word in overrides if "=" not in word]:
        raise ValueError(f"--set {wrong[0]}: expected NAME=VALUE")
    layered |= params.parse_overrides(dict(word.split("=", 1) for word in overrides), "--set", of_run=True)
    return params.build_params(cls, layered)


def prepare_pretraining(p, shards):
    """Check the memory, then make (Blocks, {text: held-out lines that are measured})."""
    start = pretraining.find_start(p)
    estimate_run(p, start, p.batch_size, p.block_size, shards=shards)
    text = read_corpus(p)
    heldout = {name: draw_bytes(lines, p.measured_bytes) for name, lines in text.heldout().items()}
    return pretraining.mix_corpus(p, text, load_tokenizer(start)), heldout


def build_pretraining(p, prepared):
    """(model, Blocks, function that measures bits per byte) from what `prepare_pretraining` made."""
    blocks, heldout = prepared
    model, tokenizer = pretraining.load_adapted(p, pretraining.find_start(p))
    return model, blocks, partial(measure_bits, tokenizer=tokenizer, texts=heldout)


def prepare_tuning(p, shards):
    """Check the memory, then make (training rows, {task: held-out rows}) as notebook 04 does step by step."""
    parent = runs.require_model(p, stages.TUNED) or p.base_model
    text, tokenizer = read_corpus(p), load_tokenizer(parent)
    chosen, heldout = choose_examples(p, text.heldout_korean + text.heldout_english, tokenizer)
    rows = encode_examples(chosen, p.template, tokenizer)
    rows = packing.pack_examples(rows, p.sequence_length) if p.sft_packing else rows
    estimate_run(p, parent, p.sft_batch_size, max(len(row["input_ids"]) for row in rows), shards=shards)
    tasks = dict.fromkeys(e.task for e in heldout)
    held = {task: encode_examples([e for e in heldout if e.task == task], p.template, tokenizer) for task in tasks}
    return rows, {task: sorted(own, key=lambda row: len(row["input_ids"])) for task, own in held.items()}  # less padding


def build_tuning(p, prepared):
    """(model, training rows, function that measures held-out losses) from what `prepare_tuning` made."""
    rows, held = prepared
    model, _ = pretraining.load_adapted(p, runs.require_model(p, stages.TUNED) or p.base_model)
    return model, rows, partial(learner.mean_losses, texts=held)


if __name__ == "__main__":
    shell.run(launch_training)
