"""Instructions: prompt templates, output-only labels, readers, hygiene; stage 04.

examples = instructions.load(p)                                        # Korean, English, translations
kept, removed = clean_examples(examples, evaluation, p.template, tokenizer, p.sequence_length)
training, heldout = instructions.hold_out(kept, p.heldout_examples)
rows = instructions.tokens(training, p.template, tokenizer)            # labels on answers and their EOS alone

ids, _ = instructions.encode(p.template, [{"role": "user", "content": "안녕?"}], tokenizer)   # a prompt to answer
"""

from blossom.instructions.dataset import (
    TASKS,
    adaptations,
    adapted_pairs,
    coloured,
    hold_out,
    labelled,
    load,
    tokens,
)
from blossom.instructions.templates import MASKED, OWN, TEMPLATES, chat_template, check_messages, encode, names, render

__all__ = [
    "MASKED",
    "OWN",
    "TASKS",
    "TEMPLATES",
    "adaptations",
    "adapted_pairs",
    "chat_template",
    "check_messages",
    "coloured",
    "encode",
    "hold_out",
    "labelled",
    "load",
    "names",
    "render",
    "tokens",
]
