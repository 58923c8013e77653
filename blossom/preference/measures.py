"""What can be measured in an answer without a judge: its language, broken characters, non-words, repetition, length."""

import re

import numpy as np
import pandas as pd

from blossom.assets.registry import fetch_asset
from blossom.benchmark.statistics import wilson_interval
from blossom.text.language import SCRIPTS, answer_language, find_nonwords, keep_letters, language_of, measure_repetition
from blossom.vocabulary.encoding import count_tokens
from blossom.vocabulary.loading import load_tokenizer

SHARES = "answered_in_language broken nonword copied han loops line_pass word_pass empty".split()  # of answers
FINDINGS = {"empty": "empty", "copied": "prompt copied", "nonword": "non-word", "loops": "loop"}
FINDINGS |= {"han": "Chinese", "broken": "broken character"}
LOOP = re.compile(r"(.{1,8}?)\1{4,}")  # one to eight characters five times in a row
ENGLISH = re.compile("[a-z]{4,}")  # for the benchmark's list of English words of four letters or more


def measure_answer(answer, language, prompt="", starts=()):
    """Measure one answer to a prompt in `language`: a dict. An answer without words counts as in that language.

    broken     U+FFFD stands before the end, where the limit of tokens may cut a character
    nonword    it has one of `find_nonwords`; NaN without `starts`
    loops      30 % of its trigrams of words occurred before, or a few characters with a letter stand five times in a row
    line_pass, word_pass  of the Language Confusion Benchmark (Marchisio et al. 2024), with `language_of` for fastText: all
               lines of five words or more, with letters, are in the language; of Korean answers that pass, no word is
               English. Else NaN
    """
    found, repetition = answer_language(answer, prompt), measure_repetition(answer)
    lines = [line for line in answer.splitlines() if len(line.split()) >= 5 and language_of(line) != "none"]
    passed = all(language_of(line) == language for line in lines) if lines else np.nan
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


def name_findings(answer, starts=()):
    """What the rules of `measure_answer` find in an answer (dict, as for `make_batch`): "non-word, loop", or "nothing"."""
    found = measure_answer(answer["answer"], answer["language"], answer["prompt"], starts)
    said = found["answered_in_language"] or found["copied"] or found["empty"]
    names = [name for key, name in FINDINGS.items() if found[key] is True] + ["not in the prompt's language"] * (not said)
    return ", ".join(names) or "nothing"


def count_tokens_per_character(models, texts):
    """Tokens per character of texts ({language: lines}) in tokenizers ({name: folder or asset}): {name: {language: n}}."""
    found = {}
    for name, model in models.items():
        tokenizer = load_tokenizer(fetch_asset(str(model)))
        found[name] = {k: count_tokens(tokenizer, lines) / sum(map(len, lines)) for k, lines in texts.items()}
    return found


def measure_answers(answers, starts=(), room=None):
    """Means of `measure_answer` by model and language, with intervals (broken_low, ...); `answers` as for `make_batch`.

    room     {language: characters}: longer answers are measured up to there, so that models of different tokenizers are
             compared on equally much text; mean_characters is that of whole answers
    return   DataFrame; lines_of, words_of: the answers that line_pass and word_pass are shares of
    """
    keys, rows, room = ["model", "language"], [], room or {}
    for a in answers:
        size = room.get(a["language"])  # also of the prompt: only the start of a copied one is seen
        measured = measure_answer(a["answer"][:size], a["language"], a["prompt"][:size], starts)
        rows.append({k: a[k] for k in keys} | measured | {"characters": len(a["answer"])})
    grouped = pd.DataFrame(rows).drop(columns="answer_language").set_index(keys).astype(float).groupby(keys, sort=False)
    means = grouped.mean().rename(columns={"characters": "mean_characters"})
    means.insert(0, "answers", grouped.size())
    means = means.join(grouped[["line_pass", "word_pass"]].count().set_axis(["lines_of", "words_of"], axis=1))
    low, high = wilson_interval(means[SHARES], grouped[SHARES].count())
    return means.join([low.add_suffix("_low"), high.add_suffix("_high")]).reset_index()


def state_answers(measured, language, label, speed=()):
    """A sentence for each model of `measure_answers` on its answers to prompts in `language` (`label`: its name).

    speed  {model: dict with steps_per_1000_characters}
    """
    names, lines = {"answered_in_language": f"in {label}"} | FINDINGS, []
    for row in measured[measured.language == language].to_dict("records"):
        kinds = [n for n in names if n in ("answered_in_language", "copied", "nonword", "loops") and row[n] == row[n]]
        told = [f"{names[n]} {row[n]:.0%} [{row[f'{n}_low']:.0%}, {row[f'{n}_high']:.0%}]" for n in kinds]
        steps = speed[row["model"]]["steps_per_1000_characters"] if row["model"] in speed else None
        pace = [f"{steps:,.0f} steps for 1,000 characters"] if steps else []
        lines.append(f"{row['model']}, answers to {row['answers']} {label} prompts: {'; '.join(told + pace)}")
    return lines
