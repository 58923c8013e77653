"""What can be measured in an answer without a judge: its language, broken characters, non-words, repetition, length."""

import math
import re
from itertools import chain

import numpy as np
import pandas as pd

from blossom.assets.registry import fetch_asset
from blossom.benchmark.statistics import wilson_interval
from blossom.text.language import SCRIPTS, WORD, answer_language, find_nonwords, language_of, measure_repetition
from blossom.vocabulary.encoding import count_tokens
from blossom.vocabulary.fertility import read_frequencies
from blossom.vocabulary.loading import load_tokenizer

SHARES = "answered_in_language copied other_language broken nonword han loops line_pass word_pass empty".split()
FINDINGS = {"empty": "empty", "copied": "prompt copied", "nonword": "non-word", "loops": "loop"}
FINDINGS |= {"han": "Chinese", "broken": "broken character", "other_language": "in another language"}
TOLD = ("copied", "other_language", "nonword", "loops")
ENGLISH = re.compile("[a-z]{4,}")  # for the benchmark's list of English words of four letters or more


def collect_starts(lines, source):
    """The first two syllables of the Korean words of lines and of a frequency list, if any: a set, for `find_nonwords`."""
    return {word[:2] for text in chain(lines, read_frequencies(source) if source else ()) for word in WORD.findall(text)}


def measure_answer(answer, language, prompt="", starts=()):
    """Measure one answer to a prompt in `language`: a dict. An answer without words counts as in that language.

    broken     U+FFFD stands before the end, where the limit of tokens may cut a character
    nonword    it has one of `find_nonwords`; NaN without `starts`
    copied     it is the prompt again, which counts as no language;  loops  by `measure_repetition`
    line_pass, word_pass  of the Language Confusion Benchmark (Marchisio et al. 2024), with `language_of`: all lines of five
               words or more are in the language; of Korean answers that pass, no word is English. Else NaN
    """
    found = answer_language(answer, prompt)
    lines = [line for line in answer.splitlines() if len(line.split()) >= 5 and language_of(line) != "none"]
    passed = all(language_of(line) == language for line in lines) if lines else np.nan
    english = any(ENGLISH.fullmatch(word.strip(".,:;!?\"'()*")) for line in lines for word in line.split())
    return {
        "answer_language": found,
        "answered_in_language": found in (language, "none"),
        "broken": "\ufffd" in answer.rstrip("\ufffd"),
        "nonword": bool(find_nonwords(answer, starts)) if starts else np.nan,
        "copied": found == "copy",
        "other_language": found not in (language, "none", "copy", "empty"),
        "han": bool(SCRIPTS["han"].search(answer)),
        "line_pass": passed,
        "word_pass": not english if language == "ko" and passed is True else np.nan,
        "characters": len(answer),
        "empty": found == "empty",
    } | dict(zip(("repetition", "loops"), measure_repetition(answer), strict=True))


def name_findings(answer, starts=(), room=None):
    """What rules find in an answer (dict, as for `make_batch`; `room` as below): "non-word, loop", or "nothing"."""
    size = (room or {}).get(answer["language"])
    found = measure_answer(answer["answer"][:size], answer["language"], answer["prompt"][:size], starts)
    return ", ".join(name for key, name in FINDINGS.items() if found[key] is True) or "nothing"


def count_tokens_per_character(models, texts):
    """Tokens per character of texts ({language: lines}) in tokenizers ({name: folder or asset}): {name: {language: n}}."""
    known = {name: load_tokenizer(fetch_asset(str(model))) for name, model in models.items()}
    return {n: {k: count_tokens(t, lines) / sum(map(len, lines)) for k, lines in texts.items()} for n, t in known.items()}


def measure_answers(answers, starts=(), room=None, limit=math.inf):
    """Means of `measure_answer` by model and language, with intervals (broken_low, ...); `answers` as for `make_batch`.

    room     {language: characters} up to which answers are measured; mean_characters, mean_tokens are of whole answers
    limit    tokens at which an answer is cut; ended: the share of the answers with fewer
    """
    keys, rows, room = ["model", "language"], [], room or {}
    for a in answers:
        size = room.get(a["language"])  # also of the prompt: only the start of a copied one is seen
        measured = measure_answer(a["answer"][:size], a["language"], a["prompt"][:size], starts)
        wrote = a.get("tokens", math.nan)  # a server counts none
        whole = {"characters": len(a["answer"]), "tokens": wrote, "ended": wrote < limit if wrote == wrote else math.nan}
        rows.append({k: a[k] for k in keys} | measured | whole)
    grouped = pd.DataFrame(rows).drop(columns="answer_language").set_index(keys).astype(float).groupby(keys, sort=False)
    means = grouped.mean().rename(columns={"characters": "mean_characters", "tokens": "mean_tokens"})
    means.insert(0, "answers", grouped.size())
    low, high = wilson_interval(means[SHARES], grouped[SHARES].count())
    return means.join([low.add_suffix("_low"), high.add_suffix("_high")]).reset_index()


def state_answers(measured, language, label, speed=()):
    """A sentence on each model's answers to prompts in `language` (`label`: its name); `speed`: {model: dict of 06}."""
    names, lines = {"answered_in_language": f"in {label}, not copied"} | {n: FINDINGS[n] for n in TOLD}, []
    for r in measured[measured.language == language].to_dict("records"):
        told = [f"{k} {r[n]:.0%} [{r[n + '_low']:.0%}, {r[n + '_high']:.0%}]" for n, k in names.items() if r[n] == r[n]]
        counts, kinds = dict(speed).get(r["model"], {}), {"steps": f"given {label} text", "own_steps": "these answers"}
        counts = [(counts.get(f"{name}_per_1000_characters"), text) for name, text in kinds.items()]
        told += [f"{count:,.0f} steps for 1,000 characters of {text}" for count, text in counts if count]
        lines.append(f"{r['model']}, answers to {r['answers']} {label} prompts: {'; '.join(told)}")
    return lines
