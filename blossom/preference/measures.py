"""What can be measured in an answer without a judge: its language, broken characters, non-words, repetition, length."""

import re

import numpy as np
import pandas as pd

from blossom.benchmark.statistics import wilson_interval
from blossom.text.language import SCRIPTS, answer_language, find_nonwords, keep_letters, language_of, measure_repetition

SHARES = "answered_in_language broken nonword copied han loops line_pass word_pass empty".split()  # of answers
LOOP = re.compile(r"(.{1,8}?)\1{4,}")  # one to eight characters five times in a row
ENGLISH = re.compile("[a-z]{4,}")  # for the benchmark's list of English words of four letters or more


def measure_answer(answer, language, prompt="", starts=()):
    """Measure one answer to a prompt in `language`: a dict. An answer without words counts as in that language.

    broken     U+FFFD stands before the end, where the limit of tokens may cut a character
    nonword    it has one of `find_nonwords`; NaN without `starts`
    loops      30 % of its trigrams of words occurred before, or a few characters with a letter stand five times in a row
    line_pass, word_pass  of the Language Confusion Benchmark (Marchisio et al. 2024), with `language_of` for fastText: all
               lines of five words or more are in the language; of Korean answers that pass, no word is English. Else NaN
    """
    found, repetition = answer_language(answer, prompt), measure_repetition(answer)
    lines = [line for line in answer.splitlines() if len(line.split()) >= 5]
    passed = all(language_of(line) in (language, "none") for line in lines) if lines else np.nan
    english = any(ENGLISH.fullmatch(word.strip(".,:;!?\"'()*")) for line in lines for word in line.split())
    return {
        "answer_language": found,
        "answered_in_language": found in (language, "none"),
        "broken": "\ufffd" in answer.rstrip("\ufffd"),
        "nonword": bool(find_nonwords(answer, starts)) if starts else np.nan,
        "copied": found == "copy",
        "han": bool(SCRIPTS["han"].search(answer)),
        "loops": repetition >= 0.3 or any(keep_letters(m[1]) for m in LOOP.finditer(answer)),
        "line_pass": passed,
        "word_pass": not english if language == "ko" and passed is True else np.nan,
        "repetition": repetition,
        "characters": len(answer),
        "empty": found == "empty",
    }


def measure_answers(answers, starts=()):
    """Means of `measure_answer` by model and language, with intervals (broken_low, ...); `answers` as for `make_batch`."""
    keys = ["model", "language"]
    rows = [{k: a[k] for k in keys} | measure_answer(a["answer"], a["language"], a["prompt"], starts) for a in answers]
    numbers = pd.DataFrame(rows).drop(columns="answer_language").set_index(keys).astype(float)
    grouped = numbers.groupby(keys, sort=False)
    means = grouped.mean().rename(columns={"characters": "mean_characters"})
    means.insert(0, "answers", grouped.size())
    low, high = wilson_interval(means[SHARES], grouped[SHARES].count())
    return means.join([low.add_suffix("_low"), high.add_suffix("_high")]).reset_index()
