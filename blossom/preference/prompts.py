"""The prompts that models answer: the project's own, LIMA's test set, any JSONL."""

from blossom.text.language import language_of
from blossom.text.rows import read_rows

LANGUAGES = {"ko": "Korean", "en": "English"}
IDS, KINDS = ("id", "question_id"), ("kind", "category", "source")
ASKED = ("prompt", "question", "text")  # a field that holds one prompt
TURNS = ("conversations", "messages", "turns", "questions")  # a list; its first turn is the prompt


def read_prompts(source, per_language, korean=""):
    """The first prompts of a set in each language, in its order.

    source        asset name, .json, .jsonl or a hub set; rows of any of these forms:
                    {"id", "kind", "ko", "en"}         both languages, or one of them
                    {"instruction"[, "input"]}         Alpaca, KoAlpaca
                    {"conversations": ["...", ...]}    LIMA's test set; also "messages", "turns", "questions" (MT-Bench,
                                                       LogicKor), plain or with a role
                    {"prompt"}, {"question"}, {"text"}
                  A row with one prompt is Korean or English by `language_of`.
    per_language  prompts to take in each language; a smaller set gives all it has
    korean        the Korean translation of an English set: rows of the same forms, with its ids or in its order
    return        list of dicts: prompt_id, kind, language ("ko", "en"), prompt; Korean first

    Raises ValueError with file and line: a row without a prompt, an id given twice in one language, a translation with
    another number of prompts.
    """
    found = {language: {} for language in LANGUAGES}
    for n, (where, row) in enumerate(read_rows(source), 1):
        for language, text in _texts(row, where).items():
            _add(found[language], row, n, language, text, where)
    if not any(found.values()):
        raise ValueError(f"prompts: {source}: holds no prompts")
    if korean:
        found["ko"] |= _read_translation(korean, source, found["en"])
    return [prompt for language in LANGUAGES for prompt in list(found[language].values())[:per_language]]


def _add(prompts, row, number, language, text, where):
    given = _first(row, IDS)
    name = str(number if given is None else given)
    if name in prompts:
        raise ValueError(f"{where}: id {name!r} is given twice")
    kind = str(_first(row, KINDS) or "other")
    prompts[name] = {"prompt_id": name, "kind": kind, "language": language, "prompt": text}


def _read_translation(korean, source, english):
    """The Korean prompts of a translation, under the ids and kinds of the English ones."""
    translated = {}
    for n, (where, row) in enumerate(read_rows(korean), 1):
        text = row.get("ko") or next(iter(_texts(row, where).values()))
        _add(translated, row, n, "ko", text, where)
    if len(translated) != len(english):
        raise ValueError(f"korean_prompts: {korean}: {len(translated)} prompts, but {source} has {len(english)} in English")
    rows = [translated[name] for name in english] if set(translated) == set(english) else translated.values()
    pairs = zip(english.items(), rows, strict=True)
    return {name: own | {"language": "ko", "prompt": row["prompt"]} for (name, own), row in pairs}


def _first(row, names):
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _texts(row, where):
    """Language -> prompt of a row."""
    texts = {language: row[language] for language in LANGUAGES if row.get(language)}
    if not texts:
        text = _prompt(row)
        texts = {"ko" if isinstance(text, str) and language_of(text) == "ko" else "en": text}
    for language, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where}: {language}: expected a prompt's text, found {text!r:.60}")
    return texts


def _prompt(row):
    """The first prompt of a row of one language; None when it has no field for that."""
    turns = _first(row, TURNS)
    if isinstance(turns, (list, tuple)) and turns:
        asked = [t for t in turns if not isinstance(t, dict) or t.get("role", t.get("from")) != "system"]
        first = asked[0] if asked else None
        return first.get("content", first.get("value")) if isinstance(first, dict) else first
    if row.get("instruction") and row.get("input"):
        return f"{row['instruction']}\n{row['input']}"
    return _first(row, ("instruction", *ASKED))
