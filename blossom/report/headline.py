"""The report's first screen: the models' measures with intervals, and what the paired comparisons of models decide."""

import pandas as pd

from blossom.benchmark.comparing import COLUMNS, compare_models
from blossom.common import figures, pages, params, paths, stages
from blossom.common.runs import read_run
from blossom.report.agreement import explain_training
from blossom.report.tables import select_stage

MEASURES = paths.read_yaml_beside(__file__)


def read_items(runs, recipe):
    """The items that stage 05 of a recipe scored: {model: list of items}; empty without that stage."""
    found = {}
    if run := runs.get((recipe, stages.SCORED)):
        file = run.folder / "items.jsonl"
        for n, line in enumerate(file.read_bytes().splitlines(), 1):
            item = {k: v for k, v in paths.parse_json(line, f"{file}, line {n}", {"task": str}).items() if v is not None}
            found.setdefault(item.get("model", recipe), []).append(item)
    return found


def pair_models(recipes):
    """(before, after) of the comparisons: each recipe with what it comes from, its twin without expansion, the base."""
    found = []
    for name in recipes:
        line = [r.name for r in params.recipe_lineage(name)[1:]]
        parent = [r for r in line if r in recipes][:1]
        found += [(before, name) for before in (*line[-1:], name.replace("blossom", "base", 1), *parent)]
    return list(dict.fromkeys(pair for pair in found if pair[0] in recipes and pair[0] != pair[1]))


def compare_recipes(runs, times=2000):
    """`compare_models` of each pair of `pair_models`: (DataFrame with model and against, why other pairs are left out)."""
    items = {r: own for r in select_stage(runs, stages.SCORED) if (own := read_items(runs, r).get(r))}
    tables, unlike = [], []
    for a, b in pair_models(list(items)[::-1]):  # the last recipe comes first
        told = explain_training(runs, a, b)
        try:
            tables += [] if told else [compare_models(items[a], items[b], times=times).assign(model=b, against=a)]
        except ValueError as error:
            told = f"{a} and {b} were measured on different texts or items, so they are not compared: {error}"
        unlike += [told] * bool(told)
    table = pd.concat(tables or [pd.DataFrame(columns=[*COLUMNS, "model", "against"])], ignore_index=True)
    return table[table.measure.isin(MEASURES)], unlike


def state_difference(row):
    """A row of `compare_recipes` in words, with the two values, their difference and its 95 % interval.

    It says better or worse where the row is decided or, of a measure that is not primary, where the interval excludes 0.
    """
    about = MEASURES[row.measure]
    is_text = about["unit"] == "bits/byte"
    scale, decimals, unit = (1, 3, "bits/byte") if is_text else (100, 1, "points")
    before, after = (f"{scale * value:.{decimals}f}{'' if is_text else ' %'}" for value in (row.before, row.after))
    difference, low, high = (pages.format_number(scale * v, decimals, "+") for v in (row.difference, row.low, row.high))
    numbers = f"{before} → {after}, {difference} {unit} [{low}, {high}]"
    if row.decided or not row.primary and row.low * row.high > 0:
        words = about["says"][int((row.difference > 0) == is_text)].format(language=figures.language_name())
        return f"{row.model} {words} than {row.against}: {numbers}"
    alike = "; a model gave one answer to all, so this is not tested" if row.constant else ""
    return f"{row.model} and {row.against}, {about['label'].format(language=figures.language_name())}: {numbers}{alike}"


def state_results(folder, count=3):
    """The last model's comparisons in general Korean, then in general English, of a finished stage 07, in words."""
    metrics = read_run(folder).metrics
    figures.set_language(metrics["language"])
    rows = pd.DataFrame(metrics["comparisons"], columns=[*COLUMNS, "model", "against"])
    own = rows[rows["model"].isin(rows["model"].head(1))]
    chosen = [own[own["measure"] == name].head(n) for name, n in (("general_korean", count - 1), ("general_english", 1))]
    return [state_difference(row) for row in pd.concat(chosen).itertuples()]
