"""Functions that the task files name with `!function`."""

import re
from functools import partial

import numpy as np

from blossom.benchmark.statistics import bleu_scorer, f1_of_draws, first_line
from blossom.text.language import is_alike, keep_letters, language_of, measure_repetition


def macro_f1(items):
    """Macro-averaged F1 of [(right label, chosen label), ...], as lm-eval's KoBEST tasks compute it."""
    return float(f1_of_draws(*np.array(items).T, macro=True))


def kobest_copa_text(row):
    """The polyglot harness's prompt, with one space before the connector; lm-eval 0.4's has two."""
    return row["premise"] + {"원인": " 왜냐하면", "결과": " 그래서"}[row["question"]]


def nsmc_results(row, answers):
    """Paper X's rule (acc: the answer contains the right word), acc_strict (and not the wrong word), neither, both."""
    right, wrong = (("부정", "긍정"), ("긍정", "부정"))[row["label"]]
    has, has_wrong = right in answers[0], wrong in answers[0]
    scores = {"acc": has, "acc_strict": has and not has_wrong}
    scores |= {"neither": not has and not has_wrong, "both": has and has_wrong}
    return {name: float(value) for name, value in scores.items()}


def _translated(row, answers, source, target):
    """(reference, answer) for BLEU and chrF, and paper X's kinds of failure as 0 or 1.

    empty           no letter in the answer
    copies          its first line is the input
    partial         its first line mixes the languages, or is less than half as long as the reference
    repeats         a sentence repeats an earlier one or the input, or it is a loop (`measure_repetition`)
    wrong_language  its first line is none of these and not in the language asked for
    """
    reference, answer = row[target], answers[0]
    first = first_line(answer)
    found = language_of(first)
    empty, copies = not keep_letters(answer), found != "mixed" and is_alike(first, row[source])
    mixed = found == "mixed" and language_of(reference) != "mixed"
    short = found == target and 2 * len(keep_letters(first)) < len(keep_letters(reference))
    partly = not (empty or copies) and (mixed or short)
    sentences = [s for s in re.split(r"[\n.!?。]+", answer) if len(keep_letters(s)) > 3]
    again = any(is_alike(s, before) for n, s in enumerate(sentences[1:], 1) for before in (*sentences[:n], row[source]))
    kinds = {"empty": empty, "copies": copies, "partial": partly, "repeats": again or measure_repetition(answer)[1]}
    kinds["wrong_language"] = not (empty or copies or partly) and found != target
    pair = (reference, answer.strip())
    return {"bleu": pair, "chrf": pair, "bleu_first_line": (reference, first)} | {k: float(v) for k, v in kinds.items()}


to_korean, to_english = partial(_translated, source="en", target="ko"), partial(_translated, source="ko", target="en")


def _corpus_score(items, metric):
    references, answers = zip(*items, strict=True)
    return bleu_scorer(metric).corpus_score(list(answers), [list(references)]).score / 100


bleu, chrf = partial(_corpus_score, metric="bleu"), partial(_corpus_score, metric="chrf")
