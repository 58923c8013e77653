"""The papers' claims, each with this run's numbers, intervals and a verdict.

Two models are compared on the items that both answered; the 95 % interval of the difference of their scores is a paired
bootstrap over the items.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from blossom.benchmark.comparing import compare_models
from blossom.benchmark.papers import paper_model, paper_table6, paper_x_tables, read_papers
from blossom.common import figures
from blossom.common.runs import find_run
from blossom.report.tables import JUDGED, MERGED, SCORED

FILE = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, and what this run shows about it."""

    paper: str  # and section
    says: str
    theirs: str  # the paper's number
    shows: str = "–"  # this run's numbers
    verdict: str = "not tested"  # or "supported", "not supported", "undecided"
    why: str = ""
    value: float | None = None  # difference of scores in points; None where no scores were compared
    low: float | None = None  # its 95 % interval
    high: float | None = None
    expected: float | None = None  # the paper's difference in points


def check_claims(runs, margin=1.8, times=2000):
    """Check every claim of the papers against this run: list of Claim.

    runs    (recipe, stage) -> FinishedRun
    margin  points within which two scores count as the same
    times   bootstrap samples
    """
    found = {
        paper: [_check_scores(paper, claim, runs, margin, times) for claim in claims]
        for paper, claims in yaml.safe_load(FILE.read_text(encoding="utf-8")).items()
    }
    others = _check_language(runs, times), *_check_preferences(runs)
    return [_check_fertility(runs), *found["Bllossom, section 5.2"], *others, *found["Paper X"]]


def judge_interval(kind, low, high, margin):
    """The verdict on a claim from the 95 % interval of the difference in points: (verdict, reason).

    kind  what the claim says of the second model: "more" (better), "less", "same" (within the margin) or "not more" (not
          better by more than the margin)
    Example: judge_interval("more", 0.5, 3.0, 1.8) -> ("supported", "the whole interval is above 0")
    """
    least, most, where = {
        "more": (0, np.inf, "above 0"),
        "less": (-np.inf, 0, "below 0"),
        "same": (-margin, margin, f"within ±{margin:g} points"),
        "not more": (-np.inf, margin, f"below {margin:g} points"),
    }[kind]
    if low == high:  # the bootstrap cannot vary: this says nothing about other items
        return "undecided", "both answered every item alike"
    if kind == "not more" and low > 0:
        return "not supported", "the whole interval is above 0"
    if least < low and high < most:
        return "supported", f"the whole interval is {where}"
    if low > most or high < least:
        return "not supported", f"no part of the interval is {where}"
    return "undecided", f"the interval is only partly {where}"


def score_difference(runs, before, after, tasks, times=2000):
    """(before, after, difference, low, high) of two recipes' mean scores, 0 to 1, on the same items; None without scores."""
    items = _items_of_both(runs, before, after)
    if items is None or not all(any(i["task"] == t for i in own) for own in items for t in tasks):
        return None
    row = compare_models(*([i for i in own if i["task"] in tasks] for own in items), times=times).iloc[-1]
    return tuple(float(row[name]) for name in ("before", "after", "difference", "low", "high"))


def _items_of_both(runs, before, after):
    """Both models' items, from `after`'s folder if it scored both, else from each one's own; None if one is missing."""
    found = _read_items(runs, after)
    if before not in found:
        found |= _read_items(runs, before)
    return (found[before], found[after]) if {before, after} <= set(found) else None


def _read_items(runs, recipe):
    found = {}
    if run := runs.get((recipe, SCORED)):
        for line in (run.folder / "items.jsonl").read_text(encoding="utf-8").splitlines():
            item = {k: v for k, v in json.loads(line).items() if v is not None}
            found.setdefault(item.get("model", recipe), []).append(item)
    return found


def _check_scores(paper, claim, runs, margin, times):
    before, after = recipes = claim["before"], claim["after"]
    if "theirs" in claim:
        scores = [[100 * paper_x_tables()[model][task] for task in claim["tasks"]] for model in claim["theirs"]]
    else:
        printed = [paper_table6()[paper_model(recipe)] for recipe in recipes]
        scores = [[row[task] for task in claim.get("tasks", ["average"])] for row in printed]
    expected = float(np.mean(scores[1]) - np.mean(scores[0]))
    about = paper, claim["says"], f"{expected:+.3g} points"
    tasks = claim.get("tasks") or read_papers()["bllossom"]["table6"]["tasks"]
    found = score_difference(runs, before, after, tasks, times)
    if found is None:
        missing = " and ".join(r for r in recipes if (r, SCORED) not in runs) or "the task's scores"
        return Claim(*about, why=f"this report has no {missing}", expected=expected)
    first, second, value, low, high = (100 * x for x in found)
    shows = f"{before} {first:.1f} → {after} {second:.1f}: {value:+.1f} [{low:+.1f}, {high:+.1f}]"
    return Claim(*about, shows, *judge_interval(claim["kind"], low, high, margin), value, low, high, expected)


def _check_fertility(runs):
    about = "Bllossom, table 1", "The expanded vocabulary spells Korean with fewer tokens", "21 → 9"
    merged = find_run(runs, MERGED)
    if not merged:
        return Claim(*about, why="this report has no expanded vocabulary")
    before, after = merged.metrics["korean_tokens_before"], merged.metrics["korean_tokens_after"]
    verdict = "supported" if after < before else "not supported"
    shows = f"{before:,} → {after:,} tokens ({after / before - 1:+.0%})"
    return Claim(*about, shows, verdict, f"counted on held-out {figures.language_name()} text, not on one sentence")


def _check_language(runs, times):
    says = "A model pretrained on Korean alone answers English questions in Korean; one on both languages does not"
    about = "Bllossom, section 5.2", says, "shown by examples"
    items = _items_of_both(runs, "blossom-bi", "blossom-ko") or ((), ())
    both, alone = (np.array([i["other_language"] for i in own if i["task"] == "answers_en"]) for own in items)
    if not len(both) or not len(alone):
        return Claim(*about, why="this report has no answers of both models")
    draws = np.random.default_rng(0).integers(0, len(alone), (times, len(alone)))
    low, high = 100 * np.quantile((alone - both)[draws].mean(1), (0.025, 0.975))
    verdict, why = judge_interval("more", low, high, 0)
    shows = f"blossom-bi {both.mean():.0%}, blossom-ko {alone.mean():.0%} of {len(alone)} questions: "
    shows += f"{100 * (alone - both).mean():+.0f} [{low:+.0f}, {high:+.0f}]"
    return Claim(*about, shows, verdict, f"{why}; before instruction tuning")


def _check_preferences(runs):
    run = runs.get(("blossom-bi-biSFT", JUDGED)) or find_run(runs, JUDGED)
    percent = read_papers()["bllossom"]["qualitative"]["bisft_over_kosft_percent"]
    twin = run and run.recipe.replace("biSFT", "koSFT")
    other = run and run.params["compare_with"]
    two = "Instructions in two languages beat Korean ones on {} prompts"
    lost = "Blossom's answers to English prompts lose against the base's"
    for where, says, theirs, kind, language, against in (
        ("figures 2, 3", "Blossom's answers to Korean prompts are preferred", "won both on 124 of 300", "more", "ko", other),
        ("figure 4", two.format("Korean"), f"{percent['korean']} %", "more", "ko", twin),
        ("figure 4", two.format("English"), f"{percent['english']} %", "more", "en", twin),
        ("figure 5", lost, "less than Komt's, Ko-Platypus2's", "less", "en", other),
    ):
        yield Claim(f"Bllossom, {where}", says, theirs, *_count_preference(run, kind, language, against))


def _count_preference(run, kind, language, other):
    """(shows, verdict, why)."""
    if run is None:
        return "–", "not tested", "this report has no stage 06"
    for row in run.metrics.get("preference", []):
        if row["model_b"] == other and row["language"] == language:
            verdict, why = judge_interval(kind, row["rate_low"] - 0.5, row["rate_high"] - 0.5, 0)
            shows = f"{run.recipe} against {other}: win rate {row['rate']:.0%} "
            shows += f"[{row['rate_low']:.0%}, {row['rate_high']:.0%}]"
            return shows, verdict, f"{why.replace(' 0', ' 50 %')}; verdicts of {row['source']}"
    answered = run.metrics["models"]
    if other not in answered:
        return "–", "not tested", f"{other} was not compared with"
    ours, others = (answered[m][language]["answered_in_language"] for m in (run.recipe, other))
    shows = f"in the prompt's language: {run.recipe} {ours:.0%}, {other} {others:.0%} of the answers"
    return shows, "not tested", "nobody judged; languages are counted, not preferences"
