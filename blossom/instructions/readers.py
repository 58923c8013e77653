"""Read instruction sets: LIMA, Alpaca and KoAlpaca rows, chat logs, and aligned text as translation exercises."""

import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

from blossom.common import paths
from blossom.instructions.templates import check_messages
from blossom.text import corpus, language, leaks, rows

TRANSLATE = "Translate the following sentences from English to Korean"  # paper X, 3.1
ADAPTATIONS = ("none", "ne_change", "topic_change")  # table 2 of the paper
FIELDS = paths.read_yaml_beside(__file__)
SPEAKERS = FIELDS["speakers"]
NO_INPUT = re.compile("<?no ?input>?|nan|none|null", re.IGNORECASE)  # how Alpaca-like sets and pandas say that there is none


@dataclass(frozen=True)
class Example:
    """One conversation to train on."""

    task: str  # "ko", "en" or "translation"
    messages: list  # of {"role", "content"[, "input"]}, ending in the assistant's
    id: str  # unique among the sets of its task; file and line where the row has none
    where: str  # file and line, for error messages
    category: str = ""
    adaptation: str = ""  # one of ADAPTATIONS, or "" when the source does not say
    source_id: str = ""  # of a Korean row: the id of its English original
    note: str = ""  # the reviewer's
    own_id: str = ""  # within its set

    @property
    def group(self):
        """What a Korean row shares with the English row it was translated from, and with no other row: (task, id)."""
        return ("en", self.source_id) if self.source_id else (self.task, self.id)

    @property
    def prompt(self):
        """The user's texts of all turns, with their inputs."""
        texts = [m[name] for m in self.messages if m["role"] == "user" for name in ("content", "input") if m.get(name)]
        return "\n".join(texts)

    @property
    def output(self):
        """The assistant's texts of all turns."""
        return "\n".join(m["content"] for m in self.messages if m["role"] == "assistant")


def read_instructions(sources, task, bad_rows=0.0, left_out=None):
    """Read the examples of instruction sets, in order; `task` is "ko" or "en".

    sources             asset names, files, folders of them, or "hub:..."; docs/data.md lists the forms of their rows
    bad_rows, left_out  of `_read_sets`: rows in no such form, without an answer or with a repeated id are bad

    Text is NFC, without white space at its ends.
    """
    sources = [sources] if isinstance(sources, str) else sources
    return _read_sets(sources, lambda row, place: _read_example(row, place, task), bad_rows, left_out)


def read_translations(sources, avoid=(), bad_rows=0.0, left_out=None):
    """Read English-Korean rows as translation exercises (paper X, 3.1), except pairs with a line in `avoid`."""
    columns, avoid = ("english", "korean"), {leaks.fold_letters(line) for line in avoid}

    def read(row, place):
        english, korean = (corpus.normalise_text(t) if isinstance(t := row.get(c), str) else "" for c in columns)
        if not english or not korean:
            raise ValueError(f"expected English TAB Korean, found {str(row)[:60]}")
        language.check_pair(english, korean)
        asked = {"role": "user", "content": TRANSLATE, "input": english}
        return Example("translation", [asked, {"role": "assistant", "content": korean}], _name(place), place, "translation")

    examples = _read_sets(sources, read, bad_rows, left_out, columns)
    return [e for e in examples if avoid.isdisjoint(map(leaks.fold_letters, (e.messages[0]["input"], e.output)))]


def _read_sets(sources, read, bad_rows, left_out, columns=()):
    """The examples that `read(row, place)` makes of sets; ids hold within a set: a second one gets its source's name too.

    A row for which it raises ValueError is left out, and its (place, reason) added to the list `left_out`; ValueError when
    these are more than the share `bad_rows` of a set.
    """
    examples = {}
    for source in dict.fromkeys(sources):
        for name, part in rows.split_source(source):
            own, bad = {}, []
            for place, row in rows.read_rows(part, columns):
                try:
                    example = read(row, place)
                    if example.id in own:
                        raise ValueError(f"id {example.id!r} is also that of {own[example.id].where}")
                    own[example.id] = example
                except ValueError as error:
                    bad.append((place, str(error)))
            count = len(own) + len(bad)
            if len(bad) > bad_rows * count:
                told = f"{len(bad):,} of {count:,} rows of this set cannot be used, bad_rows allows {bad_rows:.0%}"
                raise ValueError(f"{': '.join(bad[0])} ({told})")
            if left_out is not None:
                left_out += bad
            if not own:
                raise ValueError(f"{part}: holds no examples")
            long = source if Path(source).name == name else f"{source}/{name}"
            for example in own.values():
                unique = f"{long}:{example.id}" if example.id in examples else example.id
                examples[unique] = replace(example, id=unique, own_id=example.id)
    return list(examples.values())


def _name(place):
    file, _, number = place.rpartition(", ")
    return f"{Path(file).name}:{number.split()[-1]}"


def find_input(row):
    """What the instruction of a row is about: the texts of its fields for that, a line each, or ""."""
    texts = dict.fromkeys(_tidy(row.get(name) or "", name) for name in FIELDS["input"])
    return "\n".join(text for text in texts if text and not NO_INPUT.fullmatch(text))


def check_fields(row, place="", learnt=False):
    """Raise ValueError where a row or a message has media, calls a tool or, if it is `learnt`, is marked as not to be."""
    for name, value in row.items():
        if value and name in FIELDS["not_text"] and not NO_INPUT.fullmatch(str(value).strip()):
            raise ValueError(f"{place}{name}: only text is used, no media and no calls of tools; found {str(value)[:60]!r}")
        if learnt and name in FIELDS["marks"] and str(value).strip().lower() in FIELDS["denied"]:
            raise ValueError(f"{place}{name}: {value!r} marks a bad answer, or one that is not learnt")


def _read_example(row, place, task):
    check_fields(row, learnt=True)
    messages = [{"role": role, "content": _tidy(text)} for role, text in _read_turns(row)]
    if (system := _tidy(row.get("system") or "", "system")) and messages and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    if not (row.get("messages") or row.get("conversations")) and (asked := find_input(row)):
        messages[-2] |= {"input": asked}
    check_messages(messages)
    if messages[-1]["role"] != "assistant":
        raise ValueError("roles out of order: the last message is the user's, with no answer to learn")
    if (adaptation := row.get("adaptation") or "") not in ("", *ADAPTATIONS):
        raise ValueError(f"adaptation: expected one of {', '.join(ADAPTATIONS)}, found {adaptation!r}")
    note = row.get("adaptation_note") or row.get("note")  # its name in reviewed sets
    known = {name: row.get(name) for name in ("id", "category", "source_id")} | {"adaptation": adaptation, "note": note}
    # pandas makes 3.0 of a 3 in a column with gaps
    known = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in known.items()}
    texts = {name: "" if value is None else str(value) for name, value in known.items()}
    return Example(task, messages, **texts | {"id": texts["id"] or _name(place), "where": place})


def _read_turns(row):
    """Yield (role, text) of a row in any of the forms of `read_instructions`."""
    key = next((key for key in ("messages", "conversations") if row.get(key)), "history")
    listed = row.get(key) or []
    if not isinstance(listed, list | tuple):
        raise ValueError(f"{key}: expected a list, found {type(listed).__name__}")
    if key == "history":
        answer = next((name for name in FIELDS["answer"] if name in row), "output")
        if missing := [name for name in ("instruction", answer) if name not in row]:
            raise ValueError(f"no field '{missing[0]}' (nor messages, nor conversations); it has {', '.join(row) or 'none'}")
        for n, pair in enumerate([*listed, (row["instruction"], row[answer])]):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError(f"history[{n}]: expected [user, assistant], found {str(pair)[:60]!r}")
            yield from zip(("user", "assistant"), pair, strict=True)
        return
    for n, m in enumerate(listed):
        if isinstance(m, str):  # GAIR/lima: texts without roles, the user's first
            yield ("user", "assistant")[n % 2], m
            continue
        speaker = m.get("role", m.get("from")) if isinstance(m, dict) else m
        if not isinstance(speaker, str) or speaker not in SPEAKERS:
            raise ValueError(f"{key}[{n}]: expected a role of {', '.join(SPEAKERS)}, found {str(speaker)[:60]!r}")
        check_fields(m, f"{key}[{n}].", SPEAKERS[speaker] == "assistant")
        yield SPEAKERS[speaker], m.get("content", m.get("value"))


def _tidy(text, name="every field"):
    if isinstance(text, list):  # OpenAI's content in parts
        parts = [part.get("text") for part in text if isinstance(part, dict) and part.get("type") == "text"]
        text = "".join(parts) if len(parts) == len(text) and all(isinstance(part, str) for part in parts) else text
    if not isinstance(text, str):
        raise ValueError(f"expected text in {name}, found {type(text).__name__} {str(text)[:40]!r}")
    whole = text.encode("utf-8", "ignore").decode()  # without halves of characters
    return unicodedata.normalize("NFC", whole.replace("\r\n", "\n")).strip()
