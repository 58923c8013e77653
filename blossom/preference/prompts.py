"""The prompts that models answer: the project's own, LIMA's test set, any JSONL."""

from blossom.text.language import language_of
from blossom.text.rows import read_rows

LANGUAGES = {"ko": "Korean", "en": "English"}
IDS, KINDS = ("id", "question_id"), ("kind", "category", "source")
ASKED = ("instruction", "prompt", "question", "text")  # a field that holds one prompt
TURNS = ("conversations", "messages", "turns", "questions")  # a list; its first turn is the prompt


def read_prompts(source, per_language):
    """The first prompts of a set in each language, in its order.

    source        asset name, .json, .jsonl or a hub set; rows of any of these forms:
                    {"id", "kind", "ko", "en"}         both languages, or one of them
                    {"instruction"[, "input"]}         Alpaca, KoAlpaca
                    {"conversations": ["...", ...]}    LIMA's test set; also "messages", "turns", "questions" (MT-Bench,
                                                       LogicKor), plain or with a role
                    {"prompt"}, {"question"}, {"text"}
                  A row with one prompt is Korean or English by `language_of`.
    per_language  prompts to take in each language; a smaller set gives all it has
    return        list of dicts: prompt_id, kind, language ("ko", "en"), prompt; Korean first

    Raises ValueError with file and line: a row without a prompt, an id given twice in one language.
    """
    found = {language: {} for language in LANGUAGES}
    for n, (where, row) in enumerate(read_rows(source), 1):
        name, kind = str(_first(row, IDS, n)), str(_first(row, KINDS, "other"))
        texts = {language: row[language] for language in LANGUAGES if row.get(language)}
        if not texts:
            text = _prompt(row)
            texts = {"ko" if language_of(str(text)) == "ko" else "en": text}
        for language, text in texts.items():
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{where}: {language}: expected a prompt's text, found {text!r:.60}")
            if name in found[language]:
                raise ValueError(f"{where}: id {name!r} is given twice")
            text = text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written
            found[language][name] = {"prompt_id": name, "kind": kind, "language": language, "prompt": text}
    if not any(found.values()):
        raise ValueError(f"prompts: {source}: holds no prompts")
    return [prompt for prompts in found.values() for prompt in list(prompts.values())[:per_language]]


def _first(row, names, default=None):
    return next((row[name] for name in names if row.get(name) not in (None, "")), default)


def _prompt(row):
    """The first prompt of a row of one language; None when it has no field for that."""
    turns = _first(row, TURNS)
    if isinstance(turns, (list, tuple)):
        asked = [t for t in turns if not isinstance(t, dict) or t.get("role", t.get("from")) != "system"]
        first = asked[0] if asked else None
        return first.get("content", first.get("value")) if isinstance(first, dict) else first
    if row.get("instruction") and row.get("input"):
        return f"{row['instruction']}\n{row['input']}"
    return _first(row, ASKED)
