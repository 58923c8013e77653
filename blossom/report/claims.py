"""The papers' claims, each with this run's numbers, intervals and a verdict; claims not run here are an earlier run's."""

from dataclasses import dataclass, replace

import numpy as np

from blossom.benchmark import comparing, papers
from blossom.common import figures, params, paths, stages
from blossom.common.runs import find_run
from blossom.preference.verdicts import state_faults
from blossom.report import agreement, headline, reference


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
    run: str = "this run"  # or an earlier run


def check_claims(runs, margin=1.8, times=2000, kept=None):
    """Check every claim of the papers against this run: list of Claim.

    runs    (recipe, stage) -> FinishedRun
    margin  points within which two scores count as the same
    times   bootstrap samples
    kept    the reference run's claims {says: fields of Claim}, for those not tested here; older ones are no dicts
    """
    listed = paths.read_yaml_beside(__file__)
    preferred = [_check_preference(claim, runs) for claim in listed.pop("preferences")]
    scored = [_check_scores(paper, claim, runs, margin, times) for paper, claims in listed.items() for claim in claims]
    ours = [_check_fertility(runs), *scored, *preferred]
    other = {says: claim | {"run": reference.EARLIER} for says, claim in (kept or {}).items() if isinstance(claim, dict)}
    return [replace(c, **other.get(c.says, {})) if c.verdict == "not tested" else c for c in ours]


def judge_interval(kind, low, high, margin):
    """The verdict on a claim from the 95 % interval of the difference in points: (verdict, reason).

    kind  what the claim says of the second model: "more" (better), "less", "same" (within the margin) or "not more" (not
          better by more than the margin)
    """
    least, most, where = {
        "more": (0, np.inf, "above 0"),
        "less": (-np.inf, 0, "below 0"),
        "same": (-margin, margin, f"within ±{margin:g} points"),
        "not more": (-np.inf, margin, f"below {margin:g} points"),
    }[kind]
    if low == high:  # the bootstrap cannot vary: this says nothing about other items
        return "undecided", "every draw of the items gave the same difference"
    if kind == "not more" and low > 0:
        return "not supported", "the whole interval is above 0"
    if least < low and high < most:
        return "supported", f"the whole interval is {where}"
    if low > most or high < least:
        return "not supported", f"no part of the interval is {where}"
    return "undecided", f"the interval is only partly {where}"


def _check_scores(paper, claim, runs, margin, times):
    before, after = recipes = claim["before"], claim["after"]
    if "theirs" in claim:
        scores = [[100 * papers.paper_x_tables()[model][task] for task in claim["tasks"]] for model in claim["theirs"]]
    else:
        printed = [papers.paper_table6()[papers.paper_model(recipe)] for recipe in recipes]
        scores = [[row[task] for task in claim.get("tasks", ["average"])] for row in printed]
    expected = float(np.mean(scores[1]) - np.mean(scores[0]))
    about = paper, claim["says"], f"{expected:+.3g} points"
    tasks = claim.get("tasks") or papers.read_papers()["bllossom"]["table6"]["tasks"]
    found = headline.read_items(runs, before) | headline.read_items(runs, after)  # `after`'s may have both models' items
    items = [[i for i in found.get(name, []) if i["task"] in tasks] for name in recipes]
    if not all({i["task"] for i in own} == set(tasks) for own in items):
        missing = " and ".join(r for r in recipes if (r, stages.SCORED) not in runs) or "scores of these tasks"
        return Claim(*about, why=f"this report lacks {missing}", expected=expected)
    if told := agreement.explain_training(runs, *recipes):
        return Claim(*about, why=told, expected=expected)
    try:
        row = comparing.compare_models(*items, times=times).iloc[-1]  # of several tasks their average
    except ValueError as error:  # their files may set other shots or items
        return Claim(*about, why=f"{before} and {after} were not measured alike: {error}", expected=expected)
    first, second, value, low, high = (100 * float(row[n]) for n in ("before", "after", "difference", "low", "high"))
    shows = f"{before} {first:.1f} → {after} {second:.1f}: {value:+.1f} [{low:+.2f}, {high:+.2f}]"
    return Claim(*about, shows, *judge_interval(claim["kind"], low, high, margin), value, low, high, expected)


def _check_fertility(runs):
    about = "Bllossom, table 1", f"The expanded vocabulary spells {figures.language_name()} with fewer tokens", "21 → 9"
    merged = find_run(runs, stages.MERGED)
    if not merged:
        return Claim(*about, why="this report has no expanded vocabulary")
    before, after = merged.metrics["korean_tokens_before"], merged.metrics["korean_tokens_after"]
    verdict = "supported" if after < before else "not supported"
    shows = f"{before:,} → {after:,} tokens ({after / before - 1:+.0%})"
    return Claim(*about, shows, verdict, f"counted on held-out {figures.language_name()} text, not on one sentence")


def _check_preference(claim, runs):
    run = runs.get(("blossom-bi-biSFT", stages.JUDGED)) or find_run(runs, stages.JUDGED)
    if run is None:
        return Claim(*claim["about"], why="this report has no stage 06")
    others = {"twin": run.recipe.replace("biSFT", "koSFT"), "base": params.recipe_lineage(run.recipe)[-1].name}
    other = others.get(claim["against"]) or run.params["compare_with"]
    for row in run.metrics.get("preference", []):
        if (row["model_b"], row["language"]) == (other, claim["language"]):
            verdict, why = judge_interval(claim["kind"], row["rate_low"] - 0.5, row["rate_high"] - 0.5, 0)
            rate = "win rate {rate:.0%} [{rate_low:.0%}, {rate_high:.0%}]".format(**row)
            shows = f"{run.recipe} against {other}: {rate}; {state_faults(row)}"
            return Claim(*claim["about"], shows, verdict, f"{why.replace(' 0', ' 50 %')}; verdicts of {row['source']}")
    return Claim(*claim["about"], why=f"nobody judged the answers against those of {other}")
