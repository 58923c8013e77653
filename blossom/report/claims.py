"""The papers' claims one by one: what they say, what this run shows with intervals, and whether that supports them.

A claim about a difference of scores is tested on the items that both models answered: the interval is a paired bootstrap
over the items (`compare_scores`). "supported", "not supported" and "undecided" speak of this run at its scale only.
"""

import json
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd

from blossom.benchmark.comparing import compare_scores
from blossom.benchmark.papers import paper_model, paper_table6, paper_x_tables, read_papers
from blossom.common import figures
from blossom.common.runs import find_run

STAGE = "05_benchmark_eval"
ONE_LABEL = ("kosbi",)  # the tasks whose F1 is of label 1; the others' is averaged over the labels
TABLE6 = tuple(read_papers()["bllossom"]["table6"]["tasks"])
EXPLAINED = (
    "Supported: the whole 95 % interval agrees with the claim. Not supported: the whole interval contradicts it. "
    "Undecided: it holds both, so this run at its scale says nothing either way. Differences are in points, 100 is "
    "everything right, on the items that both models answered; two scores are the same within {margin:g} points."
)


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, and what this run has to say to it.

    paper  which paper and where;  says  its claim;  theirs  its own number
    shows  this run, in words;  value, low, high  difference and 95 % interval in points, None where nothing was compared
    verdict  supported, not supported, undecided or not tested;  why  what the verdict rests on, or why there is none
    """

    paper: str
    says: str
    theirs: str
    shows: str
    verdict: str
    why: str
    what: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    expected: float | None = None


@dataclass(frozen=True)
class ScoreClaim:
    """A claim about two models: on `tasks` the second scores "more", "less", the "same" or "not more" than the first."""

    paper: str
    says: str
    before: str
    after: str
    kind: str
    expected: float
    tasks: tuple = TABLE6
    what: str = "average of table 6"


def _table6(before, after, *tasks):
    """The papers' difference in points; averages where no task is named."""
    rows = paper_table6()
    one, two = (rows[paper_model(r)] for r in (before, after))
    return float(np.mean([two[t] - one[t] for t in tasks or ["average"]]))


def bllossom_pairs():
    """The Bllossom paper's claims about scores, in its order."""
    section, nli_sts = "Bllossom, section 5.2", ("klue_nli", "klue_sts")
    yield ScoreClaim(section, "Korean pretraining raises the average", "base", "base-ko", "more", _table6("base", "base-ko"))
    for recipe, how in (("blossom-ko", "as many tokens"), ("blossom-ko-text", "as much text")):
        arms = "base-ko", recipe
        for says, kind, tasks, what in (
            ("Expansion raises the average", "more", TABLE6, "average of table 6"),
            ("Expansion raises NLI and STS most", "more", nli_sts, "NLI and STS"),
            ("Expansion lowers SBI", "less", ("kosbi",), "SBI"),
        ):
            expected = _table6("base-ko", "blossom-ko", *(() if tasks == TABLE6 else tasks))
            yield ScoreClaim(section, f"{says} ({how})", *arms, kind, expected, tasks, what)
    both = "blossom-ko", "blossom-bi"
    yield ScoreClaim(section, "Bilingual pretraining costs nothing on average", *both, "same", _table6(*both))
    for says, kind, task, what in (
        ("Bilingual pretraining raises SBI", "more", "kosbi", "SBI"),
        ("Bilingual pretraining lowers STS", "less", "klue_sts", "STS"),
        ("Bilingual pretraining lowers HellaSwag", "less", "kobest_hellaswag", "HellaSwag"),
    ):
        yield ScoreClaim(section, says, *both, kind, _table6(*both, task), (task,), what)
    for before, after in (("base", "base-koSFT"), ("blossom-bi", "blossom-bi-koSFT"), ("blossom-bi", "blossom-bi-biSFT")):
        says = f"Instruction tuning does not raise the average ({after})"
        yield ScoreClaim(section, says, before, after, "not more", _table6(before, after))


def cross_lingual_pairs():
    """Paper X's claims about scores: against the expanded model it starts from, and English against the first one."""
    x = paper_x_tables()
    for says, task, what in (
        ("Instructions and translations teach sentiment", "nsmc", "NSMC"),
        ("They teach translation from English to Korean", "en_ko", "BLEU en → ko"),
        ("They teach translation from Korean to English", "ko_en", "BLEU ko → en"),
    ):
        gain = 100 * (x["Ours"][task] - x["LLaMA2(beomi)"][task])
        yield ScoreClaim("Paper X", says, "blossom-bi", "cross-lingual", "more", gain, (task,), what)
    for task, what in (("hellaswag_en", "HellaSwag, English"), ("copa_en", "COPA, English")):
        kept = 100 * (x["Ours"][task] - x["LLaMA2"][task])
        yield ScoreClaim(
            "Paper X", f"English is kept: {what.split(',')[0]}", "base", "cross-lingual", "same", kept, (task,), what
        )


def check_claims(runs, margin=1.8, times=2000):
    """Every claim of the papers beside this run, as a list of Claim.

    runs    (recipe, stage) -> Stage, as `load` gives them
    margin  points within which two scores count as the same;  times  bootstrap draws of the items
    """
    first, last = ([_compared(pair, runs, margin, times) for pair in p()] for p in (bllossom_pairs, cross_lingual_pairs))
    return [*_shorter(runs), *first, *_korean_answers(runs, times), *_preferences(runs), *last]


def score_difference(runs, before, after, tasks, times=2000):
    """(before, after, difference, low, high) of two recipes' scores, 0 to 1, on the same items; None without them."""
    items = _items(runs, before, after)
    if items is None or not all(any(i["task"] == t for i in own) for own in items for t in tasks):
        return None
    settings = [(task, runs[after, STAGE].metrics) for task in tasks]
    metric = {t: (m["tasks"].get(t) or m["probes"][t])["metric"] for t, m in settings}
    prepared = [SimpleNamespace(name=t, settings={"score": metric[t]}, is_macro=t not in ONE_LABEL) for t in tasks]
    row = compare_scores(prepared, *items, times=times).iloc[-1]
    return tuple(float(row[name]) for name in ("before", "after", "difference", "low", "high"))


def _items(runs, before, after):
    """Both models' answered items: from the second's folder when it scored both, else from each one's own."""
    if (after, STAGE) not in runs:
        return None
    found = _read(runs[after, STAGE])
    if before not in found and (before, STAGE) in runs:
        found |= {before: _read(runs[before, STAGE])[before]}
    return (found[before], found[after]) if before in found else None


def _read(run):
    """model -> items of an 05 run; a column that a task does not have is dropped."""
    found = {}
    for line in (run.folder / "items.jsonl").read_text(encoding="utf-8").splitlines():
        item = {k: v for k, v in json.loads(line).items() if v is not None}
        found.setdefault(item.get("model", run.recipe), []).append(item)
    return found


def _compared(pair, runs, margin, times):
    about = {"paper": pair.paper, "says": pair.says, "theirs": f"{pair.expected:+.3g} points", "what": pair.what}
    found = score_difference(runs, pair.before, pair.after, pair.tasks, times)
    if found is None:
        missing = " and ".join(r for r in (pair.before, pair.after) if (r, STAGE) not in runs) or "the task's scores"
        return Claim(**about, shows="–", verdict="not tested", why=f"this report has no {missing}")
    before, after, *interval = (100 * x for x in found)
    value, low, high = interval
    verdict, why = judge_interval(pair.kind, low, high, margin)
    shows = f"{pair.before} {before:.1f} → {pair.after} {after:.1f}: {value:+.1f} [{low:+.1f}, {high:+.1f}]"
    return Claim(**about, shows=shows, verdict=verdict, why=why, value=value, low=low, high=high, expected=pair.expected)


def judge_interval(kind, low, high, margin):
    """(verdict, reason) of a claim from the interval of the difference, in points.

    kind  "more": the second is better; "less": it is worse; "same": no difference beyond the margin; "not more": not better
    An interval without width, of models that answered every item alike, decides nothing.
    Example: judge_interval("more", 0.5, 3.0, 1.8) -> ("supported", "the interval lies above 0")
    """
    if low == high:
        return "undecided", "both answered every item alike"
    if kind in ("more", "less"):
        if low <= 0 <= high:
            return "undecided", "the interval holds 0"
        side = "above" if low > 0 else "below"
        return "supported" if (side == "above") == (kind == "more") else "not supported", f"the interval lies {side} 0"
    beyond = f"a difference of more than {margin:g} points"
    if kind == "same":
        if -margin < low and high < margin:
            return "supported", f"the interval excludes {beyond}"
        if low > margin or high < -margin:
            return "not supported", f"the interval shows {beyond}"
        return "undecided", f"the interval does not exclude {beyond}"
    if low > 0:
        return "not supported", "the interval lies above 0"
    gain = f"a gain of more than {margin:g} points"
    return ("supported", f"the interval excludes {gain}") if high < margin else ("undecided", f"{gain} is not excluded")


def _shorter(runs):
    """Expansion spells Korean with fewer tokens: counted, so without an interval."""
    merged = find_run(runs, "02_vocab_merge")
    about = {
        "paper": "Bllossom, table 1",
        "says": "The expanded vocabulary spells Korean with fewer tokens",
        "theirs": "21 → 9",
    }
    if not merged:
        return [Claim(**about, shows="–", verdict="not tested", why="this report has no expanded vocabulary")]
    before, after = merged.metrics["korean_tokens_before"], merged.metrics["korean_tokens_after"]
    verdict = "supported" if after < before else "not supported"
    why = f"counted on the run's {figures.language_name()} text, not on one sentence"
    return [Claim(**about, shows=f"{before:,} → {after:,} tokens ({after / before - 1:+.0%})", verdict=verdict, why=why)]


def _korean_answers(runs, times):
    """A model trained on Korean alone answers English questions in Korean more often than one trained on both."""
    says = "A model pretrained on Korean alone answers English questions in Korean; one on both languages does not"
    about = {
        "paper": "Bllossom, section 5.2",
        "says": says,
        "theirs": "shown by examples",
        "what": "English answered in Korean",
    }
    items = _items(runs, "blossom-bi", "blossom-ko")
    own = items and [[i["other_language"] for i in rows if i["task"] == "answers_en"] for rows in items]
    if not own or not all(own):
        return [Claim(**about, shows="–", verdict="not tested", why="this report has no answers of both models")]
    two, one = (np.array(values) for values in own)
    draws = np.random.default_rng(0).integers(0, len(one), (times, len(one)))
    low, high = (100 * np.quantile((one - two)[draws].mean(1), q) for q in (0.025, 0.975))
    verdict, why = judge_interval("more", low, high, 0)
    shows = f"blossom-bi {two.mean():.0%}, blossom-ko {one.mean():.0%} of {len(one)} questions: "
    shows += f"{100 * (one - two).mean():+.0f} [{low:+.0f}, {high:+.0f}]"
    return [Claim(**about, shows=shows, verdict=verdict, why=f"{why}; before instruction tuning, {len(one)} questions")]


def _preferences(runs):
    """Figures 2 to 5: the verdicts of people and judges where a run has some, and else what was counted."""
    judged = {recipe: run for (recipe, stage), run in runs.items() if stage == "06_qualitative_eval"}
    run = judged.get("blossom-bi-biSFT") or find_run(runs, "06_qualitative_eval")
    theirs = read_papers()["bllossom"]["qualitative"]["bisft_over_kosft_percent"]
    wanted = [
        ("figures 2, 3", "Blossom's answers to Korean prompts are preferred", "won both on 124 of 300", "more", "ko", False),
        (
            "figure 4",
            "Instructions in two languages beat Korean ones on Korean prompts",
            f"{theirs['korean']} %",
            "more",
            "ko",
            True,
        ),
        (
            "figure 4",
            "Instructions in two languages beat Korean ones on English prompts",
            f"{theirs['english']} %",
            "more",
            "en",
            True,
        ),
        (
            "figure 5",
            "Blossom's answers to English prompts lose against the base's",
            "less than Komt's, Ko-Platypus2's",
            "less",
            "en",
            False,
        ),
    ]
    return [_preferred(run, f"Bllossom, {where}", *rest) for where, *rest in wanted]


def _preferred(run, paper, says, theirs, kind, language, twin):
    about = {"paper": paper, "says": says, "theirs": theirs}
    if run is None:
        return Claim(**about, shows="–", verdict="not tested", why="this report has no stage 06")
    other = run.recipe.replace("biSFT", "koSFT") if twin else run.params["compare_with"]
    rows = [r for r in run.metrics.get("preference", []) if r["model_b"] == other and r["language"] == language]
    if rows:
        row = rows[0]
        verdict, why = judge_interval(kind, row["rate_low"] - 0.5, row["rate_high"] - 0.5, 0)
        shows = f"{run.recipe} against {other}: win rate {row['rate']:.0%} [{row['rate_low']:.0%}, {row['rate_high']:.0%}]"
        return Claim(**about, shows=shows, verdict=verdict, why=f"{why.replace(' 0', ' 50 %')}; verdicts of {row['source']}")
    answered = run.metrics["models"]
    if other not in answered:
        return Claim(**about, shows="–", verdict="not tested", why=f"{other} was not compared with")
    ours, others = (answered[m][language]["answered_in_language"] for m in (run.recipe, other))
    shows = f"in the prompt's language: {run.recipe} {ours:.0%}, {other} {others:.0%} of the answers"
    return Claim(**about, shows=shows, verdict="not tested", why="nobody judged; languages are counted, not preferences")


def list_claims(found):
    """Claims as the page's table (DataFrame of text)."""
    rows = [asdict(c) for c in found]
    columns = {
        "paper": "paper",
        "says": "it says",
        "theirs": "the paper's figure",
        "shows": "this run",
        "verdict": "verdict",
    }
    return pd.DataFrame(rows)[[*columns, "why"]].rename(columns=columns)
