"""Train stage 04 on several devices; notebook 04 then saves the model (docs/cluster.md, part 5)."""

from blossom.batch.estimate import estimate_run
from blossom.common import shell
from blossom.common.runs import require_model
from blossom.instructions.dataset import choose_examples, encode_examples
from blossom.text.corpus import read_corpus
from blossom.training.__main__ import launch_training
from blossom.training.learner import mean_loss
from blossom.training.packing import pack_examples
from blossom.training.pretraining import load_adapted
from blossom.vocabulary.loading import load_tokenizer

STAGE = "04_korean_lima_sft"


def launch_tuning(words=None):
    """Train stage 04 with command-line arguments `words` (list of str); None takes those of the process."""
    launch_training(words, "blossom.instructions", STAGE, "sft_", prepare_tuning, build_tuning)


def prepare_tuning(p, shards):
    """Check the memory, then make (training rows, {task: held-out rows})."""
    parent = require_model(p, STAGE) or p.base_model
    rows, held = prepare_rows(p, load_tokenizer(parent))
    longest = max(len(row["input_ids"]) for row in rows)
    estimate_run(p, parent, p.sft_batch_size, longest, shards=shards)
    return rows, held


def build_tuning(p, prepared):
    """(model, training rows, function that measures held-out losses) from what `prepare_tuning` made."""
    model, _ = load_adapted(p, require_model(p, STAGE) or p.base_model)
    rows, held = prepared
    return model, rows, lambda m: {task: mean_loss(m, found) for task, found in held.items()}


def prepare_rows(p, tokenizer):
    """Make (training rows, {task: held-out rows}) as notebook 04 does step by step."""
    texts = read_corpus(p)
    chosen, heldout = choose_examples(p, texts.heldout_korean + texts.heldout_english, tokenizer)
    rows = encode_examples(chosen, p.template, tokenizer)
    rows = pack_examples(rows, p.sequence_length) if p.sft_packing else rows
    held = {}
    for e in heldout:
        held.setdefault(e.task, []).extend(encode_examples([e], p.template, tokenizer))
    return rows, {task: sorted(own, key=lambda row: len(row["input_ids"])) for task, own in held.items()}  # less padding


if __name__ == "__main__":
    shell.run(launch_tuning)
