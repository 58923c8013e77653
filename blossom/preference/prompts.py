"""The prompts that models answer: authored ones, LIMA's test set, any JSONL."""

from blossom import corpus
from blossom.instructions import readers

LANGUAGES = {"ko": "Korean", "en": "English"}


def read(source, per_language):
    """The first prompts of a set in each language, in its order.

    source        asset name, .json, .jsonl or "hub:<id>[@revision][:[config:]split]"; rows {"id", "kind", "ko", "en"} (one
                  language may be missing), or LIMA's and Alpaca's ("conversations" or "instruction", the language by its
                  letters)
    per_language  prompts to take in each language; a set that has fewer gives all it has
    return        list of dicts: prompt_id, kind, language ("ko", "en"), prompt; Korean first

    Raises ValueError with file and line: a row without a prompt, an id twice in one language.
    """
    found = {language: {} for language in LANGUAGES}
    for n, (where, row) in enumerate(readers.rows(source), 1):
        texts = _texts(row, where)
        for language, text in texts.items():
            name = str(row.get("id") or n)
            if name in found[language]:
                raise ValueError(f"{where}: id {name!r} is given twice")
            found[language][name] = {
                "prompt_id": name,
                "kind": str(row.get("kind") or row.get("source") or "other"),
                "language": language,
                "prompt": text,
            }
    if not any(found.values()):
        raise ValueError(f"prompts: {source}: holds no prompts")
    return [prompt for language in LANGUAGES for prompt in list(found[language].values())[:per_language]]


def _texts(row, where):
    """Language -> prompt of a row."""
    texts = {language: row[language] for language in LANGUAGES if row.get(language)}
    if not texts:
        turns = row.get("conversations") or [row.get("instruction")]
        text = turns[0].get("value") if isinstance(turns[0], dict) else turns[0]
        texts = {"ko" if isinstance(text, str) and corpus.hangul_share(text) >= 0.3 else "en": text}
    for language, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where}: {language}: expected a prompt's text, found {text!r:.60}")
    return texts
