"""What can be measured in an answer without a judge: its language, switches of language, repetition, length."""

import pandas as pd

from blossom.preference.statistics import drop_second_looks
from blossom.preference.verdicts import PAIR
from blossom.text.language import code_switching, language_of, measure_repetition


def measure_answer(answer, language):
    """Measure one answer to a prompt in `language`: a dict. An answer without words counts as in that language."""
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
    """The means of `measure_answer` as a DataFrame, one row a model and language; `answers` as for `make_batch`."""
    rows = [{"model": a["model"], "language": a["language"]} | measure_answer(a["answer"], a["language"]) for a in answers]
    numbers = pd.DataFrame(rows).drop(columns="answer_language").astype({"answered_in_language": float, "empty": float})
    grouped = numbers.groupby(["model", "language"], sort=False)
    means = grouped.mean().rename(columns={"characters": "mean_characters"})
    means.insert(0, "answers", grouped.size())
    return means.reset_index()


def compare_languages(verdicts, pairs):
    """Count model A's wins, ties and losses by which of the two answers is in the prompt's language: a DataFrame."""
    names = {(True, True): "both", (True, False): "A alone", (False, True): "B alone", (False, False): "neither"}
    right = {}
    for pair in pairs:
        found = [measure_answer(pair[f"answer_{side}"], pair["language"])["answered_in_language"] for side in "ab"]
        right[tuple(pair[name] for name in PAIR)] = names[tuple(found)]
    first = drop_second_looks(verdicts)
    first = first.assign(in_language=list(map(right.get, first[PAIR].itertuples(index=False, name=None))))
    by = ["source", "language", "model_a", "model_b", "in_language"]
    counts = first.groupby([*by, "winner"], sort=False).size().unstack("winner", fill_value=0)
    counts = counts.reindex(columns=["a", "tie", "b"], fill_value=0).set_axis(["win", "tie", "loss"], axis=1)
    counts.insert(0, "n", counts.sum(axis=1))
    return counts.reset_index()
