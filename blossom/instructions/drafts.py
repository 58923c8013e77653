"""Drafts: an English conversation beside its Korean translation, field by field."""

from dataclasses import dataclass

from blossom.text.rows import read_rows


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
    """An example's texts by field, in the order of speech (see `Draft`); ValueError for one that has a system message."""
    *earlier, asked, told = example.messages
    if earlier and earlier[0]["role"] == "system":
        raise ValueError(f"{example.where}: opens with a system message; put its text into the instruction, or drop it")
    named = {f"history.{n // 2 + 1}.{m['role']}": m["content"] for n, m in enumerate(earlier)}
    return named | {"instruction": asked["content"], "input": asked.get("input", ""), "output": told["content"]}


def read_drafts(path):
    """The drafts in a .jsonl file, one a line with the fields of `Draft`; ValueError names the line that is no draft."""
    drafts = []
    for place, row in read_rows(str(path)):
        try:
            drafts.append(Draft(**row | {"cut": tuple(row.get("cut", ()))}))
        except TypeError as error:
            raise ValueError(f"{place}: no draft ({error})") from None
    return drafts
