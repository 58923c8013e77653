"""Drafts: an English conversation beside its Korean translation, field by field; what is checked and reviewed."""

import json
from dataclasses import dataclass
from pathlib import Path


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


def read_drafts(path):
    """The drafts in a .jsonl file, one a line with the fields of `Draft`; ValueError names the line that is no draft."""
    drafts = []
    for n, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            found = json.loads(line)
            drafts.append(Draft(**(found | {"cut": tuple(found["cut"])})))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {n}: no draft ({error})") from None
    return drafts
