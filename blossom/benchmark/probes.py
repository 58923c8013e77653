"""The further measurements' rows: consistency across languages, questions answered in writing, translations, josa.

The first two were authored for this project and exist nowhere else; josa pairs are made from a run's held-out text.
"""

from blossom.benchmark.records import BadRecord, Source, label, numbers, text, value


def _consistency(language):
    """The row of one language's side of an item."""

    def row(r):
        side = value(r, language)
        if not isinstance(side, dict):
            raise BadRecord(f"{language}: expected an object with context and choices, found {side!r}")
        choices = value(side, "choices")
        if not isinstance(choices, list) or len(choices) != 2 or not all(isinstance(c, str) and c.strip() for c in choices):
            raise BadRecord(f"{language}.choices: expected two texts, found {choices!r}")
        return {"context": text(side, "context"), "choices": choices, "label": label(r, ("label",), numbers(2))}

    return row


def _josa(r):
    choices = [text(r, "with_final"), text(r, "without_final")]
    return {"choices": choices, "pair": text(r, "pair"), "label": label(r, ("label",), numbers(2))}


def _translation(r):
    return {"en": text(r, "en", "english"), "ko": text(r, "ko", "korean")}


def _question(language):
    return lambda r: {"question": text(r, language)}


_TRANSLATION = Source(
    _translation,
    ("translation.jsonl", "**/translation*.tsv", "**/*en_ko.tsv"),
    ("Moo/korean-parallel-corpora", None, "test"),
    ({"en": "{en}", "ko": "{ko}"},),
    quoted=False,
    names=("en", "ko"),
)


def _choice(of):
    return ({"context": "{context, " + of + "}", "choices": ["{choice 1}", "{choice 2}"], "label": 0},)


PROBES = {
    "josa": Source(
        _josa, (), (), ({"choices": ["{line up to a noun with 을}", "{line up to a noun with 를}"], "label": 0},)
    ),
    "consistency_ko": Source(_consistency("ko"), ("consistency.jsonl",), (), _choice("Korean")),
    "consistency_en": Source(_consistency("en"), ("consistency.jsonl",), (), _choice("English")),
    "answers_ko": Source(_question("ko"), ("questions.jsonl",), (), ({"question": "{question}"},)),
    "answers_en": Source(_question("en"), ("questions.jsonl",), (), ({"question": "{question}"},)),
    "ko_en": _TRANSLATION,
    "en_ko": _TRANSLATION,
    "ko_en_korean_instruction": _TRANSLATION,
    "en_ko_korean_instruction": _TRANSLATION,
}
