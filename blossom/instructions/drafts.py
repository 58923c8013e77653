"""Drafts: an English conversation and its Korean translation, field by field."""

from dataclasses import dataclass

from blossom.text.rows import read_rows


@dataclass(frozen=True)
class Draft:
    """An English conversation and its machine translation."""

    id: str
    category: str
    english: dict  # field -> text: "history.1.user", "history.1.assistant", ..., "instruction", "input", "output"
    korean: dict  # the same fields; "" where there is no translation
    cut: tuple = ()  # fields whose translation stopped at the length limit


def example_fields(example):
    """An example's texts as {field: text} (fields as in `Draft.english`); ValueError for a system message."""
    *earlier, asked, told = example.messages
    if earlier and earlier[0]["role"] == "system":
        raise ValueError(f"{example.where}: opens with a system message; put its text into the instruction, or drop it")
    named = {f"history.{n // 2 + 1}.{m['role']}": m["content"] for n, m in enumerate(earlier)}
    return named | {"instruction": asked["content"], "input": asked.get("input", ""), "output": told["content"]}


def read_drafts(path):
    """Read the drafts in a .jsonl file, one a line with the fields of `Draft`; ValueError names a wrong line."""
    drafts = []
    for place, row in read_rows(str(path)):
        try:
            drafts.append(Draft(**row | {"cut": tuple(row.get("cut", ()))}))
        except TypeError as error:
            raise ValueError(f"{place}: no draft ({error})") from None
    return drafts
