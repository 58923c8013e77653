"""Instruction sets in: LIMA, Alpaca and KoAlpaca rows, chat logs, and aligned text as translation exercises."""

import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from blossom import assets
from blossom.instructions.templates import check_messages
from blossom.text import corpus

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


def read(source, task):
    """The examples of an instruction set, in order.

    source  asset name, .json (a list), .jsonl, or "hub:<id>[@revision][:[config:]split]"; rows in any of these forms:
              Alpaca, KoAlpaca, LIMA   {"instruction", "input", "output", "history": [[user, assistant], ...]};
                                       input and history may be missing
              GAIR/lima, ShareGPT      {"conversations": ["question", "answer", ...] or [{"from": "human", "value"}, ...]}
              OpenAI                   {"messages": [{"role", "content"}, ...]}
    task    "ko" or "en"

    Text is NFC, without white space at its ends; inner lines and spaces stay.
    Raises ValueError with file and line: a missing field, an empty output, roles out of order, an unknown adaptation.
    """
    examples = [_example(row, where, task) for where, row in rows(source)]
    if not examples:
        raise ValueError(f"{source}: holds no examples")
    return examples


def read_all(sources, task):
    """The examples of several sources; ValueError when two rows share an id."""
    examples, seen = [], {}
    for example in (e for source in sources for e in read(source, task)):
        if example.id in seen:
            raise ValueError(f"{example.where}: id {example.id!r} is also that of {seen[example.id]}")
        seen[example.id] = example.where
        examples.append(example)
    return examples


def translations(sources, avoid=()):
    """Aligned text as exercises, the way paper X did: its instruction sentence, the English, then the Korean.

    sources  asset names or .tsv files, English TAB Korean
    avoid    lines (either language) that must not be trained on: held-out text
    Raises ValueError with file and line when a line has no two columns.
    """
    avoid, examples = {corpus.skeleton(line) for line in avoid}, []
    for source in sources:
        path = assets.fetch(source)
        for n, line in enumerate(corpus.file_lines(path), 1):
            columns = line.split("\t")
            if len(columns) != 2 or not all(c.strip() for c in columns):
                raise ValueError(f"{path}, line {n}: expected English TAB Korean, found {line[:60]!r}")
            english, korean = (corpus.normalise(c) for c in columns)
            if avoid.isdisjoint((corpus.skeleton(english), corpus.skeleton(korean))):
                asked = {"role": "user", "content": TRANSLATE, "input": english}
                told = {"role": "assistant", "content": korean}
                place = f"{path.name}:{n}"
                examples.append(Example("translation", [asked, told], place, f"{path}, line {n}", place, "translation"))
    return examples


def rows(source):
    """(place, row) of every row of a set: place is "file, line n" or the like, row a dict.

    Raises ValueError: no .json or .jsonl, not UTF-8, not valid JSON, a row that is no object; with its place.
    """
    if source.startswith("hub:"):
        yield from ((f"{source}, row {n}", row) for n, row in enumerate(_hub(source), 1))
        return
    path = assets.fetch(source)
    if path.suffix == ".json":
        listed = _json("\n".join(corpus.file_lines(path)), str(path))
        if not isinstance(listed, list):
            raise ValueError(f"{path}: expected a JSON list of rows, found {type(listed).__name__}")
        found = ((f"{path}, row {n}", row) for n, row in enumerate(listed, 1))
    elif path.suffix == ".jsonl":
        lines = ((f"{path}, line {n}", line) for n, line in enumerate(corpus.file_lines(path), 1) if line.strip())
        found = ((where, _json(line, where)) for where, line in lines)
    else:
        raise ValueError(f"{path}: expected a .json or .jsonl file of instructions")
    for where, row in found:
        if not isinstance(row, dict):
            raise ValueError(f"{where}: expected an object with fields, found {str(row)[:60]!r}")
        yield where, row


def _json(text, where):
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON ({error})") from None


def _hub(source):
    """The rows of "hub:<id>[@revision][:[config:]split]"; a set that has a loading script needs @refs/convert/parquet."""
    from datasets import load_dataset

    _, name, *rest = source.split(":")
    name, _, revision = name.partition("@")
    *config, split = rest or ["train"]
    try:
        return load_dataset(name, *config, split=split, revision=revision or None)
    except Exception as error:
        raise ValueError(f"{source}: the hub does not give it ({assets.why_no_dataset(name, error)})") from None


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
