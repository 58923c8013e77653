"""Instruction sets in: LIMA, Alpaca and KoAlpaca rows, chat logs, and aligned text as translation exercises."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from blossom.instructions.templates import check_messages
from blossom.text.corpus import normalise_text
from blossom.text.leaks import fold_letters
from blossom.text.rows import find_source, read_lines, read_rows

TRANSLATE = "Translate the following sentences from English to Korean"  # paper X, 3.1
ADAPTATIONS = ("none", "ne_change", "topic_change")  # table 2 of the paper
_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True)
class Example:
    """One conversation to learn from.

    task        "ko", "en" or "translation"
    messages    list of {"role", "content"[, "input"]}, ending in the assistant's
    id          unique in its source; the row's place where the row has none
    where       file and line, for messages
    group       examples that say the same (a Korean row and the English one it comes from) share it
    adaptation  how a Korean row came from its English one: one of ADAPTATIONS, or "" when the source does not say
    note        what was changed, in words
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
    """Aligned text as exercises, the way paper X did: its instruction sentence, the English, then the Korean.

    sources  asset names or .tsv files, English TAB Korean
    avoid    lines (either language) that must not be trained on: held-out text
    Raises ValueError with file and line when a line has no two columns.
    """
    avoid, examples = {fold_letters(line) for line in avoid}, []
    for source in sources:
        path = find_source(source)
        for n, line in enumerate(read_lines(path), 1):
            columns = line.split("\t")
            if len(columns) != 2 or not all(c.strip() for c in columns):
                raise ValueError(f"{path}, line {n}: expected English TAB Korean, found {line[:60]!r}")
            english, korean = (normalise_text(c) for c in columns)
            if avoid.isdisjoint((fold_letters(english), fold_letters(korean))):
                asked = {"role": "user", "content": TRANSLATE, "input": english}
                told = {"role": "assistant", "content": korean}
                place = f"{path.name}:{n}"
                examples.append(Example("translation", [asked, told], place, f"{path}, line {n}", place, "translation"))
    return examples


def _example(row, where, task):
    messages = _messages(row, where)
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
    identity = str(row.get("id") or Path(where.split(",")[0]).name + ":" + where.split()[-1])
    note = str(row.get("adaptation_note") or row.get("note") or "")  # the second is how reviewed sets spell it
    category = str(row.get("category") or "")
    return Example(task, messages, identity, where, source or identity, category, adaptation, source, note)


def _messages(row, where):
    """A row's conversation as messages, whichever of the three forms it has."""
    if "messages" in row or "conversations" in row:
        key = "messages" if "messages" in row else "conversations"
        return [_message(m, n, f"{where}: {key}[{n}]") for n, m in enumerate(_list(row[key], f"{where}: {key}"))]
    missing = [key for key in ("instruction", "output") if key not in row]
    if missing:
        has = ", ".join(map(str, row)) or "none"
        raise ValueError(f"{where}: no field '{missing[0]}' (nor messages, nor conversations); it has {has}")
    turns = []
    for n, pair in enumerate(_list(row.get("history") or [], f"{where}: history")):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(f"{where}: history[{n}]: expected [user, assistant], found {str(pair)[:60]!r}")
        turns += [_turn("user", pair[0], where), _turn("assistant", pair[1], where)]
    asked = _turn("user", row["instruction"], where)
    if row.get("input"):
        asked["input"] = _text(row["input"], where)
    return [*turns, asked, _turn("assistant", row["output"], where)]


def _message(m, n, where):
    if isinstance(m, str):  # GAIR/lima: bare turns, the user first
        return _turn(("user", "assistant")[n % 2], m, where)
    if not isinstance(m, dict):
        raise ValueError(f"{where}: expected text or a message, found {type(m).__name__}")
    speaker, text = m.get("role", m.get("from")), m.get("content", m.get("value"))
    if not isinstance(speaker, str) or speaker not in _SPEAKERS:
        raise ValueError(f"{where}: expected a role of {', '.join(_SPEAKERS)}, found {speaker!r}")
    return _turn(_SPEAKERS[speaker], text, where)


def _turn(role, text, where):
    return {"role": role, "content": _text(text, where)}


def _text(text, where):
    if not isinstance(text, str):
        raise ValueError(f"{where}: expected text in every field, found {type(text).__name__} {str(text)[:40]!r}")
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()


def _list(value, where):
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}: expected a list, found {type(value).__name__}")
    return value
