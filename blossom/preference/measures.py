"""What can be counted in an answer without a judge: its language, switches of it, repetition, length."""

import pandas as pd

from blossom.preference.statistics import first_looks
from blossom.text.language import code_switching, language_of, measure_repetition


def measure_answer(answer, language):
    """What is counted in one answer.

    answer    str;  language  the prompt's: "ko" or "en"
    return    dict: answer_language ("ko", "en", "mixed", "other", "none"), answered_in_language (bool), code_switching (0 to
              1), repetition (0 to 1), characters, empty (bool)

    The language is that of `language_of`. An answer that is nothing but code, or has no letters (a number), has none, and
    counts as answered in the prompt's language.
    """
    found = language_of(answer)
    return {
        "answer_language": found,
        "answered_in_language": bool(answer.strip()) and found in (language, "none"),
        "code_switching": code_switching(answer, language),
        "repetition": measure_repetition(answer),
        "characters": len(answer),
        "empty": not answer.strip(),
    }


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
