"""Which runs of a report can be compared: those measured alike, and trained alike except for what their recipes set."""

from collections import Counter
from dataclasses import asdict
from itertools import pairwise, product

from blossom.common import params, paths, stages
from blossom.common.runs import read_run
from blossom.report.tables import select_stage

FREE = paths.read_yaml_beside(__file__)  # stage -> parameters that change neither a model nor a measure


def check_measures(runs, base_model=None):
    """Raise ParameterError where stage 05 or 06 measured two recipes otherwise, or where a run has another base model."""
    advice = "a report compares only what was measured alike. Run this stage of one again, or leave one out of `recipes`"
    for pair in [pair for stage in (stages.SCORED, stages.JUDGED) for pair in pairwise(select_stage(runs, stage).values())]:
        if told := _describe_differences(*pair):
            raise params.ParameterError(f"{told}: {advice}")
    for (recipe, stage), run in runs.items():
        if base_model and (other := run.params.get("base_model", base_model)) != base_model:
            told = f"base_model: {other!r} in {recipe}/{stage}, here {base_model!r}"
            raise params.ParameterError(f"{told}: set it to that of the runs, or name other recipes")


def explain_training(runs, before, after):
    """In which parameters the trainings of two recipes differ beyond what their files set, in words; "" in none."""
    bases = {run.params["base_model"] for (r, _), run in runs.items() if r in (before, after) and "base_model" in run.params}
    if len(bases) > 1:
        return f"{before} and {after} were made from different bases ({', '.join(sorted(bases))}), so they are not compared"
    root = next(iter(runs.values())).folder.parents[1]
    for stage in stages.MODEL_STAGES:
        lines = [[root / r.name / stage for r in params.recipe_lineage(n) if stage in r.stages] for n in (before, after)]
        made = [read_run(line[0]) for line in lines if line and (line[0] / "manifest.json").exists()]
        if len(made) == 2 and (told := _describe_differences(*made)):
            return f"{before} and {after} were trained differently, so they are not compared: {told}. Train one again"
    return ""


def describe_compute(runs, model, against):
    """Whether two models were trained on equally many tokens, such as "no: 9 tokens each in 03, 3 against 5 in 04"."""
    try:
        one, two = (_count_tokens(runs, name) for name in (model, against))
    except KeyError:  # a stage that has not run, or an older one
        return "not counted"
    read = [(stage[:2], one[stage], two[stage]) for stage in sorted(one | two)]
    told = [f"{a:,} tokens each in {stage}" if a == b else f"{a:,} against {b:,} in {stage}" for stage, a, b in read]
    return f"{'yes' if one == two else 'no'}: {', '.join(told)}"


def _count_tokens(runs, recipe):
    """Stage -> tokens that a recipe's model, and those it was made from, were trained on in it."""
    found = Counter()
    for made, stage in product(params.recipe_lineage(recipe), (stages.TRAINED, stages.TUNED)):
        if stage in made.stages:
            run = runs[made.name, stage]
            found[stage] += round(run.params.get("epochs", 1) * sum(run.metrics["tokens"].values()))
    return found


def _describe_differences(*pair):
    found = []
    usual = [asdict(params.effective_params(run.stage, run.params["scale"], run.recipe)) for run in pair]
    for name in usual[0].keys() - {"recipe", "outputs", *FREE[pair[0].stage]}:
        values = [run.params.get(name, own[name]) for run, own in zip(pair, usual, strict=True)]
        if values[0] != values[1] and values != [own[name] for own in usual]:  # their recipes' files set what they differ in
            places = zip(values, pair, strict=True)
            found.append(f"{name}: " + ", ".join(f"{params.shorten(v)} in {r.recipe}/{r.stage}" for v, r in places))
    return "; ".join(sorted(found))
