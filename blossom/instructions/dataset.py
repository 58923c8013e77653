"""From instruction sets to training rows: drawn, held out in pairs, encoded with labels on the answers alone."""

import hashlib
import random

from blossom.instructions.readers import read_instructions, read_translations
from blossom.instructions.templates import encode_conversation

TASKS = ("ko", "en", "translation")


def load_examples(p, avoid=()):
    """The examples of a run: Korean and English always (both are measured), translations when they are trained on.

    p       korean_instructions, english_instructions, translations, sft_tasks, examples, heldout_examples, seed
    avoid   held-out lines of the corpus, which no translation may hold
    return  list of Example; of each task at most `examples` + `heldout_examples`, drawn by the seed

    Raises ValueError: an unknown task, a broken row (file and line), a task with too few examples to hold any out.
    """
    wrong = [t for t in p.sft_tasks if t not in TASKS]
    if wrong or not p.sft_tasks:
        raise ValueError(f"sft_tasks: expected some of {', '.join(TASKS)}, found {p.sft_tasks!r}")
    sets = {"ko": read_instructions(p.korean_instructions, "ko"), "en": read_instructions(p.english_instructions, "en")}
    if "translation" in p.sft_tasks:
        sets["translation"] = read_translations(p.translations, avoid)
    for task, examples in sets.items():
        if len(examples) <= p.heldout_examples:
            raise ValueError(f"{task}: {len(examples)} examples; holding out {p.heldout_examples} leaves none to train on")
    return [e for examples in sets.values() for e in _drawn(examples, p)]


def _drawn(examples, p):
    """At most `examples` + `heldout_examples` of a set; the held-out ones are the same for every `examples`."""
    if not p.examples or len(examples) <= p.examples + p.heldout_examples:
        return examples
    first = sorted(examples, key=_order)[: p.heldout_examples]
    chosen = {e.id for e in first}
    rest = [e for e in examples if e.id not in chosen]
    chosen |= {e.id for e in random.Random(p.seed).sample(rest, p.examples)}
    return [e for e in examples if e.id in chosen]


def hold_out_examples(examples, n):
    """(training, held-out) examples: of each task the `n` whose group has the smallest hash are held out.

    A Korean row and its English source share a group and are held out together; otherwise training would read the
    translation of a measured example. Raises ValueError when a task has no more than `n` examples.
    """
    held = {}
    for task in TASKS:
        own = sorted((e for e in examples if e.task == task), key=_order)
        if own and len(own) <= n:
            raise ValueError(f"{task}: {len(own)} examples are left; holding out {n} leaves none to train on")
        held[task] = own[:n]
    groups = {e.group for own in held.values() for e in own}
    return [e for e in examples if e.group not in groups], [e for own in held.values() for e in own]


def _order(example):
    return hashlib.sha256(example.group.encode()).hexdigest()


def encode_examples(examples, template, tokenizer):
    """Training rows: a list of {"input_ids", "labels"}, equally long; labels are -100 outside the answers."""
    encoded = (encode_conversation(template, e.messages, tokenizer) for e in examples)
    return [{"input_ids": ids, "labels": labels} for ids, labels in encoded]
