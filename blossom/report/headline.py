"""The report's first screen: the models' measures with intervals, and what the paired comparisons of models decide."""

import pandas as pd

from blossom.benchmark.comparing import COLUMNS, compare_models
from blossom.common import figures, pages, params, paths, stages
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


def compare_recipes(runs, times=2000, spread=()):
    """`compare_models` of each pair of `pair_models`: (DataFrame with model, against, spread, why others are left out).

    spread  of `measure_spread`; in the table, the standard deviation of the difference
    """
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
    table = table[table.measure.isin(MEASURES)]
    trained = [len(params.recipe_lineage(name)) > 1 for name in table.against]  # the base has no seed
    found = [dict(spread).get(m, (0, 0))[both] for m, both in zip(table.measure, trained, strict=True)]
    return table.assign(spread=found), unlike


def describe_difference(row):
    """("better", "worse" or "", difference) of a row's second model; if not primary, where the interval excludes 0.

    "" too where the difference is within `row.spread`: other seeds could turn it.
    """
    is_text = row.metric == "bits_per_byte"
    scale, decimals, unit = (1, 3, "bits/byte") if is_text else (100, 1, "points")
    difference, low, high = (pages.format_number(scale * v, decimals, "+") for v in (row.difference, row.low, row.high))
    is_clear = row.decided or not row.primary and row.low * row.high > 0
    within = is_clear and abs(row.difference) < getattr(row, "spread", 0)  # notebook 05 knows none
    told = ("worse" if (row.difference > 0) == is_text else "better") if is_clear and not within else ""
    spread = f", within the spread between seeds ({row.spread:.3f})" if within else ""
    return told, f"{difference} {unit} [{low}, {high}]{spread}"


def state_difference(row, short=False):
    """A row of `compare_recipes` in words: what `describe_difference` says and, unless `short`, the models and values."""
    (told, difference), about = describe_difference(row), MEASURES[row.measure]
    form = "{:.3f}" if about["unit"] == "bits/byte" else "{:.1%}"
    numbers = f"{form} → {form}, {{}}".format(row.before, row.after, difference).replace("%", " %")
    words = (about["says"][told == "worse"] if told else about["label"]).format(language=figures.language_name())
    if short:
        return f"{words}, {difference}"
    if told:
        return f"{row.model} {words} than {row.against}: {numbers}"
    alike = "; a model gave one answer to all, so this is not tested" if row.constant else ""
    return f"{row.model} and {row.against}, {words}: {numbers}{alike}"


def state_best(table):
    """How the model that predicts new Korean text best compares with its base, in words: list of str, maybe empty."""
    is_base = table["against"].map(lambda name: len(params.recipe_lineage(name)) == 1).astype(bool)
    own = table[table["primary"].astype(bool) & is_base]
    korean = own[own["measure"] == "general_korean"]
    if korean.empty:
        return []
    name = korean.loc[korean["after"].astype(float).idxmin(), "model"]
    pairs = [row for row in table[table["measure"] == "general_korean"].itertuples() if not describe_difference(row)[0]]
    alike = [row.against if row.model == name else row.model for row in pairs if name in (row.model, row.against)]
    best = own[own["model"] == name]
    told = "; ".join(state_difference(row, short=True) for row in best.itertuples())
    also = f" (not told apart from {', '.join(alike)})" if alike else ""
    base = best["against"].iloc[0]
    return [f"Lowest bits/byte of new {figures.language_name()} text: {name}{also}. Against {base}: {told}."]


def state_speed_and_nonwords(judged, speed):
    """What stage 06 counted, in words: steps for given text and own answers, and answers with a non-word; "" without one.

    judged  FinishedRuns;  speed  {model: dict} of one of them
    """
    names = [f"{kind}steps_per_1000_characters" for kind in ("", "own_")]
    given, own = (", ".join(f"{m} {row[name]:,.0f}" for m, row in speed.items() if row.get(name)) for name in names)
    found = {model: row.get("ko", {}) for run in judged for model, row in run.metrics.get("models", {}).items()}
    told = "{} {nonword:.0%} [{nonword_low:.0%}, {nonword_high:.0%}]"
    rates = [told.format(model, **row) for model, row in found.items() if row.get("nonword") is not None]
    rates += [f"human text {run.metrics['nonword_human']:.0%}" for run in judged if rates][:1]
    return (given or "not counted") + (own and f"; for 1,000 of its own answers: {own}"), ", ".join(rates)


def count_decided(table):
    """How many declared differences of `compare_recipes` are better and worse, for which model against which, in words."""
    main = table[table["primary"].astype(bool)]
    pairs, found = main["model"] + " against " + main["against"], [describe_difference(row)[0] for row in main.itertuples()]
    told = []
    for word in ("better", "worse"):
        counts = pairs[[one == word for one in found]].value_counts(sort=False)
        told.append(f"{counts.sum()} {word} ({', '.join(f'{pair}: {n}' for pair, n in counts.items()) or 'none'})")
    return f"{sum(map(bool, found))} of {len(main)} differences in the declared measures are decided: {'; '.join(told)}."
