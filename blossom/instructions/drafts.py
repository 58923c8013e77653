"""Drafts: an English conversation beside its Korean translation, field by field; what is checked and reviewed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from blossom.common import paths


@dataclass(frozen=True)
class Draft:
    """One English conversation and its machine translation.

    english  dict field -> text in the order of speech: "history.1.user", "history.1.assistant", ..., "instruction", "input",
             "output"
    korean   the same fields; "" where nothing was translated (yet)
    cut      fields whose translation the service stopped at its length limit
    """

    id: str
    category: str
    english: dict
    korean: dict
    cut: tuple = ()


def example_fields(example):
    """An example's texts by field, in the order of speech (see `Draft`).

    Raises ValueError for a conversation that opens with a system message: the LIMA form has no field for it.
    """
    *earlier, asked, told = example.messages
    if earlier and earlier[0]["role"] == "system":
        raise ValueError(f"{example.where}: opens with a system message; put its text into the instruction, or drop it")
    named = {f"history.{n // 2 + 1}.{m['role']}": m["content"] for n, m in enumerate(earlier)}
    return named | {"instruction": asked["content"], "input": asked.get("input", ""), "output": told["content"]}


def lima_row(named):
    """Texts by field in the LIMA form: {"instruction", "input", "output", "history": [[user, assistant], ...]}."""
    earlier = [text for name, text in named.items() if name.startswith("history.")]
    history = [list(pair) for pair in zip(earlier[::2], earlier[1::2], strict=True)]
    return {name: named.get(name, "") for name in ("instruction", "input", "output")} | {"history": history}


def pair_drafts(english, korean):
    """Drafts from an existing translation: each Korean example with the English one that its source_id names.

    Raises ValueError: a source_id that is no English id, or conversations of different turns.
    """
    by_id, drafts = {e.id: e for e in english}, []
    for example in korean:
        source = by_id.get(example.source_id)
        if source is None:
            raise ValueError(f"{example.where}: source_id {example.source_id!r} is the id of no English example")
        before, after = example_fields(source), example_fields(example)
        if list(before) != list(after):
            raise ValueError(f"{example.where}: {len(example.messages)} messages, its English has {len(source.messages)}")
        drafts.append(Draft(source.id, source.category, before, after))
    return drafts


def write_drafts(drafts, path):
    """Write drafts to a .jsonl file."""
    paths.write_text(path, "".join(json.dumps(asdict(d), ensure_ascii=False) + "\n" for d in drafts))


def read_drafts(path):
    """The drafts in a file of `write_drafts`; ValueError names the line that is no draft."""
    drafts = []
    for n, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            found = json.loads(line)
            drafts.append(Draft(**(found | {"cut": tuple(found["cut"])})))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {n}: no draft ({error})") from None
    return drafts
