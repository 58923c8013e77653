"""From instruction sets to training rows: drawn, held out in pairs, encoded with labels on the answers alone."""

import hashlib
import random

from blossom.instructions.readers import read_instructions, read_translations
from blossom.instructions.templates import encode_conversation


def load_examples(p, avoid=()):
    """The examples of a run: Korean and English always (both are measured), translations when they are trained on.

    p       korean_instructions, english_instructions, translations, sft_tasks, examples, heldout_examples, seed
    avoid   held-out lines of the corpus, which no translation may hold
    return  list of Example; of each task at most `examples` + `heldout_examples`, drawn by the seed. The held-out ones are
            the same for every `examples`.

    Raises ValueError: a broken row (file and line).
    """
    sets = [read_instructions(p.korean_instructions, "ko"), read_instructions(p.english_instructions, "en")]
    if "translation" in p.sft_tasks:
        sets.append(read_translations(p.translations, avoid))
    drawn = []
    for examples in sets:
        if p.examples and len(examples) > p.examples + p.heldout_examples:
            order = sorted(examples, key=_hash_group)
            rest = [e for e in examples if e not in order[: p.heldout_examples]]
            chosen = {e.id for e in order[: p.heldout_examples] + random.Random(p.seed).sample(rest, p.examples)}
            examples = [e for e in examples if e.id in chosen]
        drawn += examples
    return drawn


def hold_out_examples(examples, n):
    """(training, held-out) examples: of each task the `n` whose group has the smallest hash are held out.

    A Korean row and its English source share a group and are held out together; otherwise training would read the
    translation of a measured example. Raises ValueError when a task has no more than `n` examples.
    """
    heldout = []
    for task in dict.fromkeys(e.task for e in examples):
        own = sorted((e for e in examples if e.task == task), key=_hash_group)
        if len(own) <= n:
            raise ValueError(f"{task}: {len(own)} examples are left; holding out {n} leaves none to train on")
        heldout += own[:n]
    groups = {e.group for e in heldout}
    return [e for e in examples if e.group not in groups], heldout


def _hash_group(example):
    return hashlib.sha256(example.group.encode()).hexdigest()


def encode_examples(examples, template, tokenizer):
    """Training rows: a list of {"input_ids", "labels"}, equally long; labels are -100 outside the answers."""
    encoded = (encode_conversation(template, e.messages, tokenizer) for e in examples)
    return [{"input_ids": ids, "labels": labels} for ids, labels in encoded]
