"""Instruction sets as training and held-out rows: sampled, split, and encoded with labels on the answers alone."""

import hashlib
import random

from blossom.instructions.readers import read_instructions, read_translations
from blossom.instructions.templates import encode_conversation


def load_examples(p, avoid=(), left_out=None):
    """The examples of a run, at most `p.examples` + `p.heldout_examples` of each task, sampled with `p.seed`.

    The held-out ones do not depend on `p.examples`. A translation that contains a line in `avoid` is left out,
    and so are rows that cannot be used, up to the share `p.bad_rows` of a set: `left_out` gets their (place, reason).
    """
    bad = p.bad_rows, [] if left_out is None else left_out
    sets = [read_instructions(p.korean_instructions, "ko", *bad), read_instructions(p.english_instructions, "en", *bad)]
    if "translation" in p.sft_tasks:
        sets.append(read_translations(p.translations, avoid, *bad))
    if bad[1]:
        print(f"{len(bad[1]):,} rows cannot be used:", *(f"{place}: {reason}" for place, reason in bad[1][:3]), sep="\n- ")
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
    """Split into (training, held-out) by a hash: `n` of each task are held out, each together with its translation."""
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
    """Training rows: a list of {"input_ids", "labels"}; labels are -100 outside the answers."""
    encoded = (encode_conversation(template, e.messages, tokenizer) for e in examples)
    return [{"input_ids": ids, "labels": labels} for ids, labels in encoded]
