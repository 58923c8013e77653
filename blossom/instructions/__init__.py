"""Instructions: prompt templates, output-only labels, readers, hygiene; stage 04.

examples = instructions.load(p)                                        # Korean, English, translations
kept, removed = instructions.clean(examples, evaluation, p.template, tokenizer, p.sequence_length)
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
from blossom.instructions.hygiene import clean, evaluation_texts, language_of, table
from blossom.instructions.readers import ADAPTATIONS, TRANSLATE, Example, read, read_all, translations
from blossom.instructions.templates import MASKED, OWN, TEMPLATES, chat_template, check_messages, encode, names, render

__all__ = [
    "ADAPTATIONS",
    "Example",
    "MASKED",
    "OWN",
    "TASKS",
    "TEMPLATES",
    "TRANSLATE",
    "adaptations",
    "adapted_pairs",
    "chat_template",
    "check_messages",
    "clean",
    "coloured",
    "encode",
    "evaluation_texts",
    "hold_out",
    "labelled",
    "language_of",
    "load",
    "names",
    "read",
    "read_all",
    "render",
    "table",
    "tokens",
    "translations",
]
