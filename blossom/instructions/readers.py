"""Read instruction sets: LIMA, Alpaca and KoAlpaca rows, chat logs, and aligned text as translation exercises."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from blossom.instructions.templates import check_messages
from blossom.text.corpus import normalise_text
from blossom.text.leaks import fold_letters
from blossom.text.rows import read_rows

TRANSLATE = "Translate the following sentences from English to Korean"  # paper X, 3.1
ADAPTATIONS = ("none", "ne_change", "topic_change")  # table 2 of the paper
_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True)
class Example:
    """One conversation to train on.

    task        "ko", "en" or "translation"
    messages    list of {"role", "content"[, "input"]}, ending in the assistant's
    id          unique in its source; the row's place where the row has none
    where       file and line, for messages
    group       the same for a Korean row and the English one it comes from
    adaptation  of a Korean row to Korea: one of ADAPTATIONS, or "" when the source does not say
    note        the reviewer's note
    """

    task: str
    messages: list
    id: str
    where: str
    group: str
    category: str = ""
    adaptation: str = ""
    source_id: str = ""
    note: str = ""

    @property
    def prompt(self):
        """What the user says, input included, all turns."""
        return "\n".join(m["content"] + ("\n" + m["input"] if m.get("input") else "") for m in self._of("user"))

    @property
    def output(self):
        """What the assistant says, all turns."""
        return "\n".join(m["content"] for m in self._of("assistant"))

    def _of(self, role):
        return [m for m in self.messages if m["role"] == role]


def read_instructions(sources, task):
    """The examples of instruction sets, in order.

    sources  one or several of: asset name, .json (a list), .jsonl, "hub:..." (see blossom.text.hub); rows in any form of:
               Alpaca, KoAlpaca, LIMA   {"instruction", "input", "output", "history": [[user, assistant], ...]};
                                        input and history may be missing
               GAIR/lima, ShareGPT      {"conversations": ["question", "answer", ...] or [{"from": "human", "value"}, ...]}
               OpenAI                   {"messages": [{"role", "content"}, ...]}
    task     "ko" or "en"

    Text is NFC, without white space at its ends; inner lines and spaces stay.
    Raises ValueError with file and line: a missing field, an empty output, roles out of order, an unknown adaptation, an id
    that two rows share.
    """
    examples, seen = [], {}
    for source in [sources] if isinstance(sources, str) else sources:
        before = len(examples)
        for place, row in read_rows(source):
            example = _example(row, place, task)
            if example.id in seen:
                raise ValueError(f"{place}: id {example.id!r} is also that of {seen[example.id]}")
            seen[example.id] = place
            examples.append(example)
        if len(examples) == before:
            raise ValueError(f"{source}: holds no examples")
    return examples


def read_translations(sources, avoid=()):
    """Aligned text as the exercises of paper X: its instruction sentence, the English, then the Korean.

    sources  asset names or .tsv files, English TAB Korean; or sets of rows with the fields english and korean
    avoid    lines (either language) that must not be trained on: held-out text
    Raises ValueError with file and line when a line has no two columns.
    """
    avoid, examples = {fold_letters(line) for line in avoid}, []
    for place, row in (found for source in sources for found in read_rows(source, ("english", "korean"))):
        english, korean = (normalise_text(str(row.get(name) or "")) for name in ("english", "korean"))
        if not english or not korean:
            raise ValueError(f"{place}: expected English TAB Korean, found {str(row)[:60]}")
        if avoid.isdisjoint((fold_letters(english), fold_letters(korean))):
            asked = {"role": "user", "content": TRANSLATE, "input": english}
            told = {"role": "assistant", "content": korean}
            examples.append(Example("translation", [asked, told], _name(place), place, _name(place), "translation"))
    return examples


def _name(place):
    """A short name for a row without an id: "file:line"."""
    return Path(place.split(",")[0]).name + ":" + place.split()[-1]


def _example(row, where, task):
    messages = [_message(role, text, where) for role, text in _turns(row, where)]
    if row.get("input") and not {"messages", "conversations"} & row.keys():
        messages[-2]["input"] = _message("user", row["input"], where)["content"]
    for n, message in enumerate(messages, 1):
        if message["role"] == "assistant" and not message["content"]:
            raise ValueError(f"{where}: message {n}, the assistant's, is empty: there is nothing to learn; remove the row")
    try:
        check_messages(messages)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"{where}: roles out of order: the last message is the user's, with no answer to learn")
    adaptation, source = row.get("adaptation") or "", str(row.get("source_id") or "")
    if adaptation and adaptation not in ADAPTATIONS:
        raise ValueError(f"{where}: adaptation: expected one of {', '.join(ADAPTATIONS)}, found {adaptation!r}")
    identity = str(row.get("id") or _name(where))
    note = str(row.get("adaptation_note") or row.get("note") or "")  # reviewed sets call it note
    category = str(row.get("category") or "")
    return Example(task, messages, identity, where, source or identity, category, adaptation, source, note)


def _turns(row, where):
    """Yield (role, text) of a row in any of the three forms."""
    key = next((key for key in ("messages", "conversations") if key in row), "history")
    listed = row.get(key) or []
    if not isinstance(listed, list | tuple):
        raise ValueError(f"{where}: {key}: expected a list, found {type(listed).__name__}")
    if key == "history":
        missing = [name for name in ("instruction", "output") if name not in row]
        if missing:
            has = ", ".join(map(str, row)) or "none"
            raise ValueError(f"{where}: no field '{missing[0]}' (nor messages, nor conversations); it has {has}")
        for n, pair in enumerate(listed):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError(f"{where}: history[{n}]: expected [user, assistant], found {str(pair)[:60]!r}")
        for asked, told in [*listed, (row["instruction"], row["output"])]:
            yield from (("user", asked), ("assistant", told))
        return
    for n, m in enumerate(listed):
        if isinstance(m, str):  # GAIR/lima: texts alone, the user's first
            yield ("user", "assistant")[n % 2], m
            continue
        speaker = m.get("role", m.get("from")) if isinstance(m, dict) else None
        if not isinstance(speaker, str) or speaker not in _SPEAKERS:
            found = repr(speaker) if isinstance(m, dict) else type(m).__name__
            raise ValueError(f"{where}: {key}[{n}]: expected a role of {', '.join(_SPEAKERS)}, found {found}")
        yield _SPEAKERS[speaker], m.get("content", m.get("value"))


def _message(role, text, where):
    if not isinstance(text, str):
        raise ValueError(f"{where}: expected text in every field, found {type(text).__name__} {str(text)[:40]!r}")
    return {"role": role, "content": unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()}
