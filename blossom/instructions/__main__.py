r"""Stage 04's training on several devices, from the notebook's own parameter files; paper X on its eight cards:

    accelerate launch --config_file params/accelerate/fsdp.yaml --num_processes 8 -m blossom.instructions \
        --params params/scales/llama2-7b.yaml --params params/recipes/cross-lingual-direct.yaml

Afterwards notebook 04, with the same parameters, finds the finished training, keeps its model, and shows it.
"""

import os

import torch
from accelerate import PartialState

from blossom.common import paths, runs, shell, stages
from blossom.instructions.dataset import encode_examples, hold_out_examples, load_examples
from blossom.instructions.hygiene import clean_examples
from blossom.models.adapters import adapt_model
from blossom.models.loading import load_model
from blossom.text.corpus import read_corpus
from blossom.text.leaks import read_evaluation_texts
from blossom.training.__main__ import asked_for
from blossom.training.estimate import estimate
from blossom.training.learner import mean_loss
from blossom.training.loop import train_model
from blossom.training.settings import TrainingSettings
from blossom.vocabulary.loading import load_tokenizer

STAGE = "04_korean_lima_sft"


def main(words=None):
    """Train as the command line (`words`; None: the process's own) says. Raises as `train_model`, `load_model` do."""
    p = asked_for(words, "blossom.instructions", stages.KoreanLimaSFT, "sft_checkpoints")
    state = PartialState(cpu=not torch.cuda.is_available())
    with state.main_process_first():  # downloads once; the others read what it left
        parent = runs.require_model(p, STAGE) or p.base_model
        rows, held = data(p, load_tokenizer(parent))
        shards = state.num_processes if os.environ.get("ACCELERATE_USE_FSDP") == "true" else 1
        longest = max(len(row["input_ids"]) for row in rows)
        estimate(p, parent, p.sft_batch_size, longest, timed=False, shards=shards).check()
        model, _ = load_model(parent)
    model = adapt_model(model, p.trainable, p.lora_rank, p.lora_alpha, p.lora_targets)
    folder = paths.stage_folder(p.outputs, p.scale, p.recipe, STAGE)

    def losses(m):
        return {task: mean_loss(m, found) for task, found in held.items()}

    result = train_model(model, rows, TrainingSettings.of(p, "sft_"), folder, losses)
    if state.is_main_process:
        print(f"{result['steps']} steps by {state.num_processes} processes, {result['tokens_per_second']:,.0f} tokens/s")
        print(f"finish: run notebooks/{STAGE}.ipynb with the same parameters")


def data(p, tokenizer):
    """(rows to train on, task -> held-out rows), as notebook 04 makes them step by step."""
    texts = read_corpus(p)
    examples = load_examples(p, avoid=texts.heldout_korean + texts.heldout_english)
    scored = read_evaluation_texts(p.evaluation_texts)
    kept, _ = clean_examples(examples, scored, p.template, tokenizer, p.sequence_length, p.near_duplicate)
    chosen, heldout = hold_out_examples(kept, p.heldout_examples)
    rows = encode_examples([e for e in chosen if e.task in p.sft_tasks], p.template, tokenizer)
    held = {}
    for task in dict.fromkeys(e.task for e in heldout):
        found = encode_examples([e for e in heldout if e.task == task], p.template, tokenizer)
        held[task] = sorted(found, key=lambda row: len(row["input_ids"]))  # less padding
    return rows, held


if __name__ == "__main__":
    shell.run(main)
