"""What can be counted in an answer without a judge: its language, switches of it, repetition, length."""

import re

import pandas as pd

from blossom.preference.statistics import first_looks

LATIN = re.compile("[A-Za-z\u00c0-\u024f]")
HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
KOREAN_FROM, ENGLISH_UP_TO = 0.3, 0.1  # shares of Hangul; Korean prose about software has many Latin letters
LONGEST_WORD = 12  # characters; longer runs without a space are cut, so that loops in them are seen


def measure_answer(answer, language):
    """What is counted in one answer.

    answer    str;  language  the prompt's: "ko" or "en"
    return    dict: answer_language ("ko", "en", "mixed", "other", "none"), answered_in_language (bool), code_switching (0 to
              1), repetition (0 to 1), characters, empty (bool)

    The language is told by letters outside fenced code: Korean when at least 30 % of the Hangul and Latin letters are
    Hangul, English when at most 10 % are, mixed between; other when letters of other scripts are the majority. An answer
    that is nothing but code, or has no letters (a number), has none, and counts as answered in the prompt's language.
    """
    found = answer_language(answer)
    return {
        "answer_language": found,
        "answered_in_language": bool(answer.strip()) and found in (language, "none"),
        "code_switching": code_switching(answer, language),
        "repetition": measure_repetition(answer),
        "characters": len(answer),
        "empty": not answer.strip(),
    }


def answer_language(text):
    """ "ko", "en", "mixed", "other" or "none", by the rule in `measure_answer`."""
    text = CODE.sub(" ", text)
    hangul, latin, letters = len(HANGUL.findall(text)), len(LATIN.findall(text)), sum(c.isalpha() for c in text)
    if not letters:
        return "none"
    if hangul + latin < letters / 2:
        return "other"
    share = hangul / (hangul + latin)
    return "ko" if share >= KOREAN_FROM else "en" if share <= ENGLISH_UP_TO else "mixed"


def code_switching(text, language):
    """Share of the words (runs of non-space with a letter, outside code) that are in the other script alone.

    Example: "서울은 capital 입니다" for "ko" -> 1/3; "Python에서" has Hangul and counts as Korean.
    """
    words = [w for w in CODE.sub(" ", text).split() if any(c.isalpha() for c in w)]
    other = [w for w in words if bool(HANGUL.search(w)) != (language == "ko")]
    return len(other) / len(words) if words else 0.0


def measure_repetition(text, n=3):
    """Share of the word `n`-grams that occurred before in the text: 0 when none did, near 1 in a loop.

    Example: "a b c a b c a b c" -> 4 of its 7 trigrams are repeats.
    """
    words = [w[i : i + LONGEST_WORD] for w in text.split() for i in range(0, len(w), LONGEST_WORD)]
    grams = list(zip(*(words[i:] for i in range(n)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def measure_answers(answers):
    """A row a model and language: the means over its answers.

    answers  list of dicts with model, language, answer (other keys are ignored)
    return   DataFrame: model, language, answers, answered_in_language, code_switching, repetition, mean_characters, empty
    """
    rows = pd.DataFrame(
        [{"model": a["model"], "language": a["language"]} | measure_answer(a["answer"], a["language"]) for a in answers]
    )
    means = rows.drop(columns="answer_language").astype({"answered_in_language": float, "empty": float})
    grouped = means.groupby(["model", "language"], sort=False)
    found = grouped.mean().rename(columns={"characters": "mean_characters"})
    found.insert(0, "answers", grouped.size())
    return found.reset_index()


def compare_languages(verdicts, answers):
    """Preference beside language: were the answers that won those in the prompt's language?

    verdicts  table of `verdicts.make_verdicts`, a judge's orders settled
    answers   list of dicts: model, prompt_id, language, answer
    return    a row for every group of source, language and two models, and for what was in the prompt's language (both
              answers, that of model A alone, that of model B alone, neither): n, win, tie, loss (counts, of model A)
    """
    right = {
        (a["model"], a["prompt_id"], a["language"]): measure_answer(a["answer"], a["language"])["answered_in_language"]
        for a in answers
    }
    first = first_looks(verdicts)
    keys = {s: zip(first[f"model_{s}"], first.prompt_id, first.language, strict=True) for s in "ab"}
    a, b = ([right[key] for key in keys[s]] for s in "ab")
    named = {(True, True): "both", (True, False): "A alone", (False, True): "B alone", (False, False): "neither"}
    table = first.assign(in_language=[named[pair] for pair in zip(a, b, strict=True)])
    by = ["source", "language", "model_a", "model_b", "in_language"]
    counts = table.groupby([*by, "winner"], sort=False).size().unstack("winner", fill_value=0)
    counts = counts.reindex(columns=["a", "tie", "b"], fill_value=0).set_axis(["win", "tie", "loss"], axis=1)
    counts.insert(0, "n", counts.sum(axis=1))
    return counts.reset_index()
