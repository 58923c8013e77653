"""The tasks' rows: how a record of the public files, of the hub or of an authored mini-set becomes a row of one form."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Where a task's rows come from and how a record becomes a row.

    row    record -> dict of the columns that the task's template names, and an integer `label`
    files  glob patterns below a folder, the first that matches is evaluated; `train` likewise, for few-shot examples
    hub    (dataset id or URL, configuration, evaluated split); columns as the hub has them
    blank  rows with each text replaced by its column's name: rendered, they show the prompt itself
    quoted TSV fields may be in quotes (KoBEST's), or a quote is a character like any other (NSMC's)
    """

    row: object
    files: tuple
    hub: tuple
    blank: tuple
    train: tuple = ()
    quoted: bool = True


class BadRecord(ValueError):
    """What is wrong with a record, before file and line are known."""


def _value(record, *names):
    for name in names:
        if name in record and record[name] is not None:
            return record[name]
    raise BadRecord(f"no column {' or '.join(names)}; it has {', '.join(map(str, record))}")


def _text(record, *names):
    value = _value(record, *names)
    if not isinstance(value, str) or not value.strip():
        raise BadRecord(f"{names[0]}: expected text, found {value!r}")
    return value


def _label(record, names, labels):
    """The number of a record's label; `labels` maps each spelling (lower case) to it."""
    value = _value(record, *names)
    spelled = str(int(value)) if isinstance(value, (bool, float)) and value == int(value) else str(value)
    if spelled.strip().lower() not in labels:
        raise BadRecord(f"{names[0]}: expected one of {', '.join(labels)}, found {value!r}")
    return labels[spelled.strip().lower()]


def _numbers(count):
    return {str(n): n for n in range(count)}


NLI_LABELS = _numbers(3) | {"entailment": 0, "neutral": 1, "contradiction": 2}
YNAT_LABELS = _numbers(7) | {"it과학": 0, "경제": 1, "사회": 2, "생활문화": 3, "세계": 4, "스포츠": 5, "정치": 6}
SAFE_LABELS = _numbers(2) | {"unsafe": 0, "safe": 1}
TRUTH_LABELS = _numbers(2) | {"false": 0, "true": 1}


def _nli(r):
    label = _label(r, ("gold_label", "label"), NLI_LABELS)
    return {"premise": _text(r, "premise"), "hypothesis": _text(r, "hypothesis"), "label": label}


def _sts(r):
    labels = _value(r, "labels")
    if not isinstance(labels, dict):
        raise BadRecord(f"labels: expected an object with binary-label, found {labels!r}")
    label = _label(labels, ("binary-label",), _numbers(2))
    return {"sentence1": _text(r, "sentence1"), "sentence2": _text(r, "sentence2"), "label": label}


def _ynat(r):
    return {"title": _text(r, "title"), "label": _label(r, ("label",), YNAT_LABELS)}


def _kosbi(r):
    label = _label(r, ("sentence_label",), SAFE_LABELS)
    return {"context": _text(r, "context"), "sentence": _text(r, "sentence"), "label": label}


def _nsmc(r):
    return {"sentence": _text(r, "document"), "label": _label(r, ("label",), _numbers(2))}


def _boolq(r):
    label = _label(r, ("Answer", "label"), TRUTH_LABELS)
    return {"paragraph": _text(r, "Text", "paragraph"), "question": _text(r, "Question", "question"), "label": label}


def _kobest_copa(r):
    question = _text(r, "question").strip()
    if question not in ("원인", "결과"):
        raise BadRecord(f"question: expected 원인 or 결과, found {question!r}")
    file = "Answer" in r  # the files count alternatives from 1, the hub from 0
    return {
        "premise": _text(r, "sentence", "premise"),
        "question": question,
        "alternative_1": _text(r, "1", "alternative_1"),
        "alternative_2": _text(r, "2", "alternative_2"),
        "label": _label(r, ("Answer",), {"1": 0, "2": 1}) if file else _label(r, ("label",), _numbers(2)),
    }


def _kobest_hellaswag(r):
    endings = {f"ending_{n}": _text(r, f"choice{n}", f"ending_{n}") for n in range(1, 5)}
    return {"context": _text(r, "context"), **endings, "label": _label(r, ("label",), _numbers(4))}


def _sentineg(r):
    return {"sentence": _text(r, "Text", "sentence"), "label": _label(r, ("Label", "label"), _numbers(2))}


def _copa_en(r):
    question = _text(r, "question").strip()
    if question not in ("cause", "effect"):
        raise BadRecord(f"question: expected cause or effect, found {question!r}")
    choices = {name: _text(r, name) for name in ("premise", "choice1", "choice2")}
    return {**choices, "question": question, "label": _label(r, ("label",), _numbers(2))}


def _hellaswag_en(r):
    from lm_eval.tasks.hellaswag.utils import preprocess

    if "ctx_a" in r:  # the public files: put together as the harness does
        context = f"{_text(r, 'activity_label')}: {_text(r, 'ctx_a')} {r.get('ctx_b', '').capitalize()}"
    else:
        context = _text(r, "ctx")
    endings = _value(r, "endings")
    if not isinstance(endings, list) or len(endings) != 4 or not all(isinstance(e, str) and e.strip() for e in endings):
        raise BadRecord(f"endings: expected four texts, found {endings!r}")
    choices = [preprocess(e) for e in endings]
    return {"query": preprocess(context), "choices": choices, "label": _label(r, ("label",), _numbers(4))}


_KOBEST = "skt/kobest_v1"
_KOSBI = "https://raw.githubusercontent.com/naver-ai/korean-safety-benchmarks/main/data/KoSBi/kosbi_test.json"
SOURCES = {
    "klue_nli": Source(
        _nli,
        ("klue_nli.json", "**/*nli*dev*.json"),
        ("klue/klue", "nli", "validation"),
        ({"premise": "{premise}", "hypothesis": "{hypothesis}", "label": 0},),
        ("**/*nli*train*.json",),
    ),
    "klue_sts": Source(
        _sts,
        ("klue_sts.json", "**/*sts*dev*.json"),
        ("klue/klue", "sts", "validation"),
        ({"sentence1": "{sentence1}", "sentence2": "{sentence2}", "label": 0},),
        ("**/*sts*train*.json",),
    ),
    "kosbi": Source(
        _kosbi,
        ("kosbi.json", "**/kosbi*test.json", "**/kosbi*valid.json"),
        (_KOSBI, None, "train"),
        ({"context": "{context}", "sentence": "{sentence}", "label": 0},),
        ("**/kosbi*train.json",),
    ),
    "klue_ynat": Source(
        _ynat,
        ("klue_ynat.jsonl", "**/*ynat*dev*.json*"),
        ("klue/klue", "ynat", "validation"),
        ({"title": "{title}", "label": 0},),
        ("**/*ynat*train*.json*",),
    ),
    "kobest_boolq": Source(
        _boolq,
        ("kobest_boolq.tsv", "**/BoolQ/test.tsv", "**/BoolQ/dev.tsv"),
        (_KOBEST, "boolq", "test"),
        ({"paragraph": "{paragraph}", "question": "{question}", "label": 0},),
        ("**/BoolQ/train.tsv",),
    ),
    "kobest_hellaswag": Source(
        _kobest_hellaswag,
        ("kobest_hellaswag.tsv", "**/HellaSwag/test.tsv", "**/HellaSwag/dev.tsv"),
        (_KOBEST, "hellaswag", "test"),
        ({"context": "{context}", **{f"ending_{n}": f"{{ending_{n}}}" for n in range(1, 5)}, "label": 0},),
        ("**/HellaSwag/train.tsv",),
    ),
    "kobest_sentineg": Source(
        _sentineg,
        ("kobest_sentineg.tsv", "**/SentiNeg/test.tsv", "**/SentiNeg/dev.tsv"),
        (_KOBEST, "sentineg", "test"),
        ({"sentence": "{sentence}", "label": 0},),
        ("**/SentiNeg/train.tsv",),
    ),
    "kobest_copa": Source(
        _kobest_copa,
        ("kobest_copa.tsv", "**/COPA/test.tsv", "**/COPA/dev.tsv"),
        (_KOBEST, "copa", "test"),
        tuple(
            {
                "premise": "{premise}",
                "question": q,
                "alternative_1": "{alternative_1}",
                "alternative_2": "{alternative_2}",
                "label": 0,
            }
            for q in ("원인", "결과")
        ),
        ("**/COPA/train.tsv",),
    ),
    "nsmc": Source(
        _nsmc,
        ("nsmc.tsv", "**/ratings_test*.txt"),
        ("e9t/nsmc", None, "test"),
        ({"sentence": "{sentence}", "label": 0},),
        ("**/ratings_train*.txt",),
        quoted=False,
    ),
    "copa_en": Source(
        _copa_en,
        ("copa_en.jsonl", "**/copa_en/*.jsonl"),
        ("aps/super_glue", "copa", "validation"),
        tuple(
            {"premise": "{premise}.", "question": q, "choice1": "{choice1}", "choice2": "{choice2}", "label": 0}
            for q in ("cause", "effect")
        ),
    ),
    "hellaswag_en": Source(
        _hellaswag_en,
        ("hellaswag_en.jsonl", "**/hellaswag_en/*.jsonl", "**/hellaswag_val*.jsonl"),
        ("Rowan/hellaswag", None, "validation"),
        ({"query": "{query}", "choices": [f"{{ending_{n}}}" for n in range(1, 5)], "label": 0},),
        ("**/hellaswag_train*.jsonl",),
    ),
}
SOURCES["kobest_copa_shipped"] = SOURCES["kobest_copa"]  # the same rows under lm-eval's own template
