"""From instruction sets to what training reads: chosen, held out in pairs, tokens with output-only labels."""

import hashlib
import random
from html import escape

from blossom.instructions.readers import ADAPTATIONS, read_instructions, read_translations
from blossom.instructions.templates import MASKED, encode_conversation, render_conversation

TASKS = ("ko", "en", "translation")


def load_examples(p, avoid=()):
    """The examples of a run: Korean and English always (both are measured), translations when they are trained on.

    p       korean_instructions, english_instructions, translations, sft_tasks, examples, heldout_examples, seed
    avoid   lines that no translation may hold: the corpus' held-out text
    return  list of Example; of a task with more than `examples` + `heldout_examples`, so many drawn by the seed

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
    """At most `examples` + `heldout_examples` of a set; what will be held out is among them, whatever `examples` is."""
    if not p.examples or len(examples) <= p.examples + p.heldout_examples:
        return examples
    first = sorted(examples, key=_order)[: p.heldout_examples]
    chosen = {e.id for e in first}
    rest = [e for e in examples if e.id not in chosen]
    chosen |= {e.id for e in random.Random(p.seed).sample(rest, p.examples)}
    return [e for e in examples if e.id in chosen]


def hold_out_examples(examples, n):
    """(training, held-out) examples: `n` of each task, those whose group has the smallest hash.

    A Korean row and the English one it was adapted from share a group and go together, or training would read the
    translation of what is measured. Raises ValueError when a task has no more than `n` examples.
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
    """The rows that training reads: a list of {"input_ids", "labels"}, equally long; labels are -100 where not learned."""
    encoded = (encode_conversation(template, e.messages, tokenizer) for e in examples)
    return [{"input_ids": ids, "labels": labels} for ids, labels in encoded]


def count_labels(row):
    """Number of labels of a row: what eq. (3) sums over."""
    return sum(label != MASKED for label in row["labels"])


def count_adaptations(examples):
    """How many Korean examples came to be how: {"none", "ne_change", "topic_change"} -> count (table 2's categories)."""
    korean = [e.adaptation for e in examples if e.task == "ko"]
    return {name: korean.count(name) for name in ADAPTATIONS}


def pair_adapted(examples, adaptation):
    """[(English example, Korean example)] of one adaptation, in order: table 2 drawn from the data.

    Raises ValueError when a Korean row's source_id is the id of no English row.
    """
    english = {e.id: e for e in examples if e.task == "en"}
    pairs = []
    for e in examples:
        if e.task == "ko" and e.adaptation == adaptation:
            if e.source_id not in english:
                raise ValueError(f"{e.where}: source_id {e.source_id!r} is the id of no English example")
            pairs.append((english[e.source_id], e))
    return pairs


def colour_labels(template, messages, tokenizer, learned="#CC3311", read="#33659A"):
    """One example as HTML, token by token, in two colours: what is learned and what is only read (paper X, figure 1).

    Everything from the data is escaped: a script in a field is shown as text. Of the tokens that spell one character
    together, the first shows it and the others show ·1, ·2, ...
    """
    spans = []
    for text, kind in render_conversation(template, messages, tokenizer):
        colour = learned if kind in ("answer", "end") else read
        for shown in [text] if kind in ("marker", "end") else _shown(text, tokenizer):
            style = f"color:{colour};border:1px solid {colour}55;border-radius:3px;padding:0 2px;margin:1px;white-space:pre"
            line_end = "<br>" if shown.endswith("\n") else ""
            spans.append(f'<span style="{style}">{escape(shown.replace(chr(10), "↵"))}</span>{line_end}')
    return f'<div style="font-family:monospace;line-height:1.9">{"".join(spans)}</div>'


def _shown(text, tokenizer):
    """The stretch of `text` that each of its tokens stands for."""
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    end, part, shown = 0, 0, []
    for start, stop in encoded["offset_mapping"]:
        fresh = stop > end
        part = 0 if fresh else part + 1
        shown.append(text[max(start, end) : stop] if fresh else f"·{part}")
        end = max(end, stop)
    return shown
