"""What must not be learned from: duplicates, evaluation texts, examples too long; and what to look at by eye."""

import numpy as np

from blossom.instructions.templates import encode_conversation
from blossom.text.language import language_of
from blossom.text.leaks import find_copies, near_duplicates


def clean_examples(examples, evaluation, template, tokenizer, sequence_length, near=0.8):
    """Examples fit to train on, and why the others are not.

    evaluation       dict name -> list of texts that models are scored with (see `read_evaluation_texts`)
    sequence_length  most tokens of an example; a longer one is left out whole: cut short it would teach not to stop
    near             Jaccard similarity of 5-character shingles from which an example is a near duplicate
    return           (kept, removed): removed is a list of (reason, example, what it clashes with); reasons are
                     "exact duplicate", "near duplicate", "in the evaluation", "too long". The first of several stays.
    """
    kept, removed, first = [], [], {}
    for example in examples:
        key = _folded(example.prompt + "\n" + example.output)
        if key in first:
            removed.append(("exact duplicate", example, first[key].id))
        else:
            first[key] = example
            kept.append(example)
    twins = near_duplicates([_folded(_telling(e)) for e in kept], near)
    removed += [("near duplicate", kept[n], kept[twin].id) for n, twin in twins.items()]
    kept = [e for n, e in enumerate(kept) if n not in twins]

    leaks = find_copies([(e.prompt, e.output) for e in kept], evaluation)
    removed += [("in the evaluation", kept[n], name) for n, name in leaks.items()]
    kept = [e for n, e in enumerate(kept) if n not in leaks]

    size = [len(encode_conversation(template, e.messages, tokenizer)[0]) for e in kept]
    removed += [("too long", e, f"{n} tokens") for e, n in zip(kept, size, strict=True) if n > sequence_length]
    return [e for e, n in zip(kept, size, strict=True) if n <= sequence_length], removed


def hygiene_table(examples, kept, removed, template, tokenizer, sequence_length):
    """Rows of the table that is read before training: what was found, a column a task.

    return  dict task -> dict of counts: examples, each reason of removal, kept, turns, fields by language, and how many
            tokens an example has (median, 95th percentile, longest; before removal) beside the most that are allowed
    """
    result = {}
    for task in dict.fromkeys(e.task for e in examples):
        own = [e for e in examples if e.task == task]
        row = {"examples": len(own)}
        for reason in ("exact duplicate", "near duplicate", "in the evaluation", "too long"):
            row[reason] = sum(r == reason and e.task == task for r, e, _ in removed)
        row["kept"] = sum(e.task == task for e in kept)
        row["of several turns"] = sum(len(e.messages) > 2 for e in own)
        for name, text in (("instruction", lambda e: e.prompt), ("output", lambda e: e.output)):
            found = [language_of(text(e)) for e in own]
            row |= {f"{name} in {language}": found.count(language) for language in ("ko", "en")}
            row[f"{name} in other"] = len(own) - found.count("ko") - found.count("en")
        size = [len(encode_conversation(template, e.messages, tokenizer)[0]) for e in own]
        points = {"median": 50, "95 %": 95, "longest": 100}
        row |= {f"tokens, {name}": int(np.percentile(size, point)) for name, point in points.items()}
        result[task] = row | {"tokens allowed": sequence_length}
    return result


def _telling(example):
    """The text that tells two examples apart: without instructions that many rows share, when there is an input."""
    return "\n".join(m.get("input") or m["content"] for m in example.messages)


def _folded(text):
    return " ".join(text.casefold().split())
