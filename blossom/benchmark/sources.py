"""The papers' tasks: how a record of the public files, of the hub or of an authored mini-set becomes a row of one form."""

from blossom.benchmark.records import BadRecord, Source, label, numbers, text, value

NLI_LABELS = numbers(3) | {"entailment": 0, "neutral": 1, "contradiction": 2}
YNAT_LABELS = numbers(7) | {"it과학": 0, "경제": 1, "사회": 2, "생활문화": 3, "세계": 4, "스포츠": 5, "정치": 6}
SAFE_LABELS = numbers(2) | {"unsafe": 0, "safe": 1}
TRUTH_LABELS = numbers(2) | {"false": 0, "true": 1}


def _nli(r):
    right = label(r, ("gold_label", "label"), NLI_LABELS)
    return {"premise": text(r, "premise"), "hypothesis": text(r, "hypothesis"), "label": right}


def _sts(r):
    labels = value(r, "labels")
    if not isinstance(labels, dict):
        raise BadRecord(f"labels: expected an object with binary-label, found {labels!r}")
    right = label(labels, ("binary-label",), numbers(2))
    return {"sentence1": text(r, "sentence1"), "sentence2": text(r, "sentence2"), "label": right}


def _ynat(r):
    return {"title": text(r, "title"), "label": label(r, ("label",), YNAT_LABELS)}


def _kosbi(r):
    right = label(r, ("sentence_label",), SAFE_LABELS)
    return {"context": text(r, "context"), "sentence": text(r, "sentence"), "label": right}


def _nsmc(r):
    if "document" in r and not str(r["document"] or "").strip():
        return None  # the public test set has a few reviews without text
    return {"sentence": text(r, "document"), "label": label(r, ("label",), numbers(2))}


def _boolq(r):
    right = label(r, ("Answer", "label"), TRUTH_LABELS)
    return {"paragraph": text(r, "Text", "paragraph"), "question": text(r, "Question", "question"), "label": right}


def _kobest_copa(r):
    question = text(r, "question").strip()
    if question not in ("원인", "결과"):
        raise BadRecord(f"question: expected 원인 or 결과, found {question!r}")
    file = "Answer" in r  # the files count alternatives from 1, the hub from 0
    return {
        "premise": text(r, "sentence", "premise"),
        "question": question,
        "alternative_1": text(r, "1", "alternative_1"),
        "alternative_2": text(r, "2", "alternative_2"),
        "label": label(r, ("Answer",), {"1": 0, "2": 1}) if file else label(r, ("label",), numbers(2)),
    }


def _kobest_hellaswag(r):
    endings = {f"ending_{n}": text(r, f"choice{n}", f"ending_{n}") for n in range(1, 5)}
    return {"context": text(r, "context"), **endings, "label": label(r, ("label",), numbers(4))}


def _sentineg(r):
    return {"sentence": text(r, "Text", "sentence"), "label": label(r, ("Label", "label"), numbers(2))}


def _copa_en(r):
    question = text(r, "question").strip()
    if question not in ("cause", "effect"):
        raise BadRecord(f"question: expected cause or effect, found {question!r}")
    choices = {name: text(r, name) for name in ("premise", "choice1", "choice2")}
    return {**choices, "question": question, "label": label(r, ("label",), numbers(2))}


def _hellaswag_en(r):
    from lm_eval.tasks.hellaswag.utils import preprocess

    if "ctx_a" in r:  # the public files: put together as the harness does
        context = f"{text(r, 'activity_label')}: {text(r, 'ctx_a')} {r.get('ctx_b', '').capitalize()}"
    else:
        context = text(r, "ctx")
    endings = value(r, "endings")
    if not isinstance(endings, list) or len(endings) != 4 or not all(isinstance(e, str) and e.strip() for e in endings):
        raise BadRecord(f"endings: expected four texts, found {endings!r}")
    choices = [preprocess(e) for e in endings]
    return {"query": preprocess(context), "choices": choices, "label": label(r, ("label",), numbers(4))}


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
