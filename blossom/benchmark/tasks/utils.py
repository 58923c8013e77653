"""Functions that the task files name with `!function`."""

from blossom.text.language import code_switching, language_of, measure_repetition


def macro_f1(items):
    """Macro-averaged F1 of [(right label, chosen label), ...]; as lm-eval's KoBEST tasks, without asking the hub for it."""
    from sklearn.metrics import f1_score

    right, chosen = zip(*items, strict=True)
    return float(f1_score(right, chosen, average="macro"))


def kobest_copa_text(row):
    """The polyglot harness's prompt, with one space; lm-eval 0.4's shipped template has two."""
    return row["premise"] + {"원인": " 왜냐하면", "결과": " 그래서"}[row["question"]]


def nsmc_results(row, answers):
    """Paper X's rule: an answer counts when it contains the right one of 긍정 and 부정, whatever else it contains.

    return  acc (the rule), and beside it acc_strict (the right one alone), neither, both
    """
    right, wrong = (("부정", "긍정"), ("긍정", "부정"))[row["label"]]
    has, has_wrong = right in answers[0], wrong in answers[0]
    scores = {
        "acc": has,
        "acc_strict": has and not has_wrong,
        "neither": not has and not has_wrong,
        "both": has and has_wrong,
    }
    return {name: float(value) for name, value in scores.items()}


def answers_ko(row, answers):
    """In which language a Korean question was answered; see `_answered`."""
    return _answered(answers[0], "ko", "en")


def answers_en(row, answers):
    """In which language an English question was answered; see `_answered`."""
    return _answered(answers[0], "en", "ko")


def _answered(answer, own, other):
    """own_language, other_language, mixed, empty (0 or 1; at most one is 1) and code_switching, the share of the words
    that are in the other script. The language is that of `language_of`."""
    found = language_of(answer) if answer.strip() else "empty"
    kinds = {"own_language": own, "other_language": other, "mixed": "mixed", "empty": "empty"}
    scores = {name: float(found == kind) for name, kind in kinds.items()}
    return scores | {"code_switching": code_switching(answer, own)}


def to_korean(row, answers):
    """A translation into Korean, scored and its failures told; see `_translated`."""
    return _translated(row["en"], row["ko"], answers[0], "ko")


def to_english(row, answers):
    """A translation into English, scored and its failures told; see `_translated`."""
    return _translated(row["ko"], row["en"], answers[0], "en")


def _translated(source, reference, answer, language):
    """(reference, answer) for BLEU and chrF, and paper X's kinds of failure as 0 or 1.

    empty           no letter in the answer
    copies          its first line is the input again
    partial         its first line mixes the languages, or is less than half as long as the reference
    repeats         after its first line or sentence it says that sentence or the input again, or loops
    wrong_language  its first line is neither of these and not in the asked language
    """
    lines = [line.strip() for line in answer.split("\n") if line.strip()]
    first = lines[0] if lines else ""
    found = language_of(first)
    empty, copies = not _letters(answer), found != "mixed" and _same(first, source)
    mixed = found == "mixed" and language_of(reference) != "mixed"
    short = found == language and 2 * len(_letters(first)) < len(_letters(reference))
    partial = not (empty or copies) and (mixed or short)
    wrong = not (empty or copies or partial) and found != language
    kinds = {"empty": empty, "copies": copies, "partial": partial, "wrong_language": wrong}
    kinds["repeats"] = _repeats(answer, source)
    return {
        "bleu": (reference, answer.strip()),
        "chrf": (reference, answer.strip()),
        "bleu_first_line": (reference, first),
        **{name: float(value) for name, value in kinds.items()},
    }


def _repeats(answer, source):
    """Does a later sentence of an answer say an earlier one, or the input, again? Or do its words go round in a loop?"""
    import re

    sentences = [s for s in re.split(r"[\n.!?。]+", answer) if len(_letters(s)) > 3]
    again = any(_same(s, before) for n, s in enumerate(sentences) for before in [*sentences[:n], *([source] if n else [])])
    return again or measure_repetition(answer) >= 0.3


def _letters(text):
    return "".join(c for c in text.casefold() if c.isalpha())


def _same(one, other):
    """Are two sentences the same but for case, spaces, punctuation and a letter in five?"""
    from difflib import SequenceMatcher

    one, other = _letters(one), _letters(other)
    return bool(one and other) and SequenceMatcher(None, one, other, autojunk=False).ratio() >= 0.8


def bleu(items):
    """Corpus BLEU of [(reference, answer), ...] on 0 to 1, sacrebleu's defaults (13a, exponential smoothing)."""
    import sacrebleu

    references, answers = zip(*items, strict=True)
    return sacrebleu.BLEU().corpus_score(list(answers), [list(references)]).score / 100


def chrf(items):
    """Corpus chrF2 of [(reference, answer), ...] on 0 to 1, sacrebleu's defaults; kinder to Korean's long words."""
    import sacrebleu

    references, answers = zip(*items, strict=True)
    return sacrebleu.CHRF().corpus_score(list(answers), [list(references)]).score / 100
