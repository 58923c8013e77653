"""Instruction sets as training and held-out rows: sampled, cleaned of what must not be trained on, split, and encoded."""

import hashlib
import os
import random
from collections import Counter
from types import SimpleNamespace

import numpy as np

from blossom.common import paths, stages
from blossom.instructions import readers, templates
from blossom.text.language import language_of
from blossom.text.leaks import find_copies, near_duplicates, read_evaluation_texts
from blossom.vocabulary.loading import load_tokenizer

REASONS = ("exact duplicate", "near duplicate", "in the evaluation", "too long")


def load_examples(p, avoid=(), left_out=None):
    """The examples of a run, at most `p.examples` + `p.heldout_examples` of each task, sampled with `p.seed`.

    The held-out ones do not depend on `p.examples`. A translation that contains a line in `avoid` is left out,
    and so are rows that cannot be used, up to the share `p.bad_rows` of a set: `left_out` gets their (place, reason).
    """
    bad = p.bad_rows, [] if left_out is None else left_out
    korean = [_find_made(p, name) for name in p.korean_instructions]
    sets = [readers.read_instructions(korean, "ko", *bad), readers.read_instructions(p.english_instructions, "en", *bad)]
    english = Counter(e.own_id for e in sets[1]) | Counter(e.id for e in sets[1])
    if unclear := next((e for e in sets[0] if english[e.source_id] > 1), None):
        told = f"source_id {unclear.source_id!r} is the id of rows in {english[unclear.source_id]} English sets"
        raise ValueError(f"{unclear.where}: {told}: give the rows of all sets ids of their own")
    if lost := [e.source_id for e in sets[0] if english and e.source_id and e.source_id not in english]:
        print(f"{len(lost):,} source_ids fit no English row, such as {lost[0]!r}: no such pair is held out together")
    if "translation" in p.sft_tasks:
        sets.append(readers.read_translations(p.translations, avoid, *bad))
    if bad[1]:
        print(f"unusable rows: {len(bad[1]):,}", *(f"{place}: {reason}" for place, reason in bad[1][:3]), sep="\n- ")
    drawn = []
    for examples in sets:
        if p.examples and len(examples) > p.examples + p.heldout_examples:
            chosen = {e.id for e in sorted(examples, key=_hash_group)[: p.heldout_examples]}  # to be held out
            chosen.update(random.Random(p.seed).sample([e.id for e in examples if e.id not in chosen], p.examples))
            examples = [e for e in examples if e.id in chosen]
        drawn += examples
    return drawn


def _find_made(p, name):
    """The file of the run in progress, for the name of a file in the stage's folder, where the run before has its own."""
    home = paths.stage_folder(p.outputs, p.scale, p.recipe, stages.TUNED)
    path, unfinished = paths.ROOT / os.path.expanduser(name), paths.unfinished_folder(home)
    if not path.is_relative_to(home) or not unfinished.exists():
        return name
    if not (made := unfinished / path.relative_to(home)).exists():
        raise ValueError(f"korean_instructions: {name} is written by this stage, and this run has not written it yet")
    return str(made)


def clean_examples(examples, evaluation, template, tokenizer, sequence_length, near=0.8):
    """Split examples into (kept, removed); removed is a list of (reason, example, what it repeats or its length).

    evaluation       {name: texts that models are scored with} (see `read_evaluation_texts`)
    sequence_length  most tokens of an example
    near             Jaccard similarity of 5-character shingles from which a later example counts as a near duplicate
    """
    removed, first = [], {}
    for example in examples:
        same = first.setdefault(_fold(example.prompt + "\n" + example.output), example)
        if same is not example:
            removed.append(("exact duplicate", example, same.id))
    kept = list(first.values())
    # without the instruction where there is an input, and without the input: many rows share either
    inputs, asked = ([_fold("\n".join(m.get(k) or m["content"] for m in e.messages)) for e in kept] for k in ("input", ""))
    twins = near_duplicates(inputs, near, asked)
    removed += [("near duplicate", kept[n], kept[twin].id) for n, twin in twins.items()]
    kept = [e for n, e in enumerate(kept) if n not in twins]
    leaks = find_copies([(e.prompt, e.output) for e in kept], evaluation)
    removed += [("in the evaluation", kept[n], names[0]) for n, names in leaks.items()]
    kept = [e for n, e in enumerate(kept) if n not in leaks]
    long = {n: size for n, size in enumerate(_count_tokens(kept, template, tokenizer)) if size > sequence_length}
    removed += [("too long", kept[n], f"{size} tokens") for n, size in long.items()]
    return [e for n, e in enumerate(kept) if n not in long], removed


def choose_examples(p, avoid, tokenizer):
    """The (training, held-out) examples of a run of stage 04, as its notebook makes them step by step."""
    examples, scored = load_examples(p, avoid), read_evaluation_texts(p.evaluation_texts)
    kept, _ = clean_examples(examples, scored, p.template, tokenizer, p.sequence_length, p.near_duplicate)
    chosen, heldout = hold_out_examples(kept, p.heldout_examples)
    return [e for e in chosen if e.task in p.sft_tasks], heldout


def _find_trained(tuned, prompts, avoid):
    """The prompts with a copy (see `find_copies`) in what a finished run of stage 04 was trained on: a set of str."""
    p, asked = SimpleNamespace(**tuned.params), {prompt: [prompt] for prompt in prompts}
    if not find_copies([(e.prompt, e.output) for e in load_examples(p, avoid)], asked):
        return set()  # at once: to choose among many examples takes long
    training, _ = choose_examples(p, avoid, load_tokenizer(tuned.folder / "model"))
    return {prompt for found in find_copies([(e.prompt, e.output) for e in training], asked).values() for prompt in found}


def leave_out_trained(asked, tunings, avoid=()):
    """The prompts (dicts) without those that runs of stage 04 (or None) were trained on; ValueError when none is left."""
    prompts = [a["prompt"] for a in asked]
    trained = set().union(*(_find_trained(run, prompts, avoid) for run in tunings if run))
    if not {*prompts} - trained:
        told = "the models were tuned on all of them; take others, or name this set in stage 04's evaluation_texts"
        raise ValueError(f"prompts: {told} and tune again")
    return [a for a in asked if a["prompt"] not in trained]


def hygiene_table(examples, kept, removed, template, tokenizer, sequence_length, alike):
    """Count each task's examples, removals, languages and tokens: {task: {name: count}}; `alike`: of `find_paraphrases`."""
    result = {}
    for task in dict.fromkeys(e.task for e in examples):
        own = [e for e in examples if e.task == task]
        row = {"examples": len(own)}
        row |= {reason: sum(r == reason and e.task == task for r, e, _ in removed) for reason in REASONS}
        row["kept"] = sum(e.task == task for e in kept)
        row["like an evaluation text"] = sum(kept[n].task == task for n in set(alike.prompt))
        row["of several turns"] = sum(len(e.messages) > 2 for e in own)
        for name, texts in (("instruction", [e.prompt for e in own]), ("output", [e.output for e in own])):
            found = [language_of(text) for text in texts]
            row |= {f"{name} in {language}": found.count(language) for language in ("ko", "en")}
            row[f"{name} in other"] = len(own) - found.count("ko") - found.count("en")
        size = np.percentile(_count_tokens(own, template, tokenizer), [50, 95, 100])
        row |= {f"tokens, {name}": int(n) for name, n in zip(("median", "95th percentile", "longest"), size, strict=True)}
        result[task] = row | {"tokens allowed": sequence_length}
    return result


def _count_tokens(examples, template, tokenizer):
    return [len(templates.encode_conversation(template, e.messages, tokenizer)[0]) for e in examples]


def _fold(text):
    return " ".join(text.casefold().split())


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
    return hashlib.sha256(example.group[1].encode()).hexdigest()


def encode_examples(examples, template, tokenizer):
    """Training rows: a list of {"input_ids", "labels"}; labels are -100 outside the answers."""
    encoded = (templates.encode_conversation(template, e.messages, tokenizer) for e in examples)
    return [{"input_ids": ids, "labels": labels} for ids, labels in encoded]
