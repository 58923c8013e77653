"""The prompts that models answer: the project's own, LIMA's test set, any JSONL."""

import unicodedata

from blossom.instructions.readers import SPEAKERS, check_fields, find_input
from blossom.text.language import language_of
from blossom.text.rows import read_rows, split_source

LANGUAGES = {"ko": "Korean", "en": "English"}


def read_prompts(source, per_language):
    """Read the first `per_language` prompts of each language: list of dicts prompt_id, kind, language, prompt; Korean first.

    source  asset name, .json, .jsonl, a folder of these or a hub set, with rows as in docs/data.md

    Ids hold within a file: a second one gets its file's name too. Raises ValueError with file and line for a row without a
    prompt or a repeated id.
    """
    found, known = {language: {} for language in LANGUAGES}, {}
    numbered = ((file, n, *row) for file, part in split_source(source) for n, row in enumerate(read_rows(part), 1))
    for file, n, where, row in numbered:
        name, kind = str(_first(row, ("id", "question_id"), n)), str(_first(row, ("kind", "category", "source"), "other"))
        name = name if known.setdefault(name, file) == file else f"{file}:{name}"
        texts = {language: row[language] for language in LANGUAGES if row.get(language)}
        try:
            text = _prompt(row)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        texts = texts or {"ko" if language_of(str(text)) == "ko" else "en": text}
        for language, text in texts.items():
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{where}: {language}: expected a prompt's text, found {text!r:.60}")
            if name in found[language]:
                raise ValueError(f"{where}: id {name!r} is given twice")
            text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n")  # a lone surrogate cannot be written
            text = unicodedata.normalize("NFC", text).strip()  # as the instructions that models are tuned on
            found[language][name] = {"prompt_id": name, "kind": kind, "language": language, "prompt": text}
    if not any(found.values()):
        raise ValueError(f"prompts: {source}: holds no prompts")
    return [prompt for prompts in found.values() for prompt in list(prompts.values())[:per_language]]


def _first(row, names, default=None):
    return next((row[name] for name in names if row.get(name) not in (None, "")), default)


def _prompt(row):
    check_fields(row)
    if row.get("role") and SPEAKERS.get(str(row["role"])) != "user":  # OASST's messages are rows
        raise ValueError(f"role: expected a user's text (user, human, prompter), found {row['role']!r}")
    turns = _first(row, ("conversations", "messages", "turns", "questions"))
    if isinstance(turns, (list, tuple)):
        said = [(SPEAKERS.get(str(t.get("role", t.get("from", "user")))) if isinstance(t, dict) else "", t) for t in turns]
        speaker, first = next((turn for turn in said if turn[0] != "system"), ("", None))
        return _prompt(first | {"text": first.get("content", first.get("value"))}) if speaker == "user" else first
    if asked := _first(row, ("instruction", "prompt", "question")):
        return f"{asked}\n{about}" if (about := find_input(row)) else asked
    return row.get("text")
