"""Two models on the same items: paired differences with intervals, and what is significant among many comparisons."""

import numpy as np
import pandas as pd

from blossom.benchmark import statistics
from blossom.benchmark.suite import PAPER_TASKS

COLUMNS = ["task", "metric", "items", "before", "after", "difference", "low", "high", "p", "p_holm", "significant"]


def compare_scores(prepared, before, after, times=2000, seed=0, level=0.05):
    """How the second model's scores differ from the first's: a row a task, then the average of the paper's tasks.

    prepared       the tasks that both answered
    before, after  lists of items of the two models, as `evaluate` gives them
    times          bootstrap draws of the items; both models are scored on the same draws, so easy and hard items cancel
    level          family-wise error of `significant`
    return         DataFrame with COLUMNS; scores 0 to 1; low and high bound the 95 % interval of the difference;
                   p is two-sided (twice the share of draws on the other side of 0, at least 1/times); p_holm is adjusted by
                   Holm for the tasks compared here; significant: p_holm <= level

    Raises ValueError when the two did not answer the same items.
    """
    rows, drawn = [], {}
    for p in prepared:
        one, two = ([i for i in items if i["task"] == p.name] for items in (before, after))
        if [i["id"] for i in one] != [i["id"] for i in two] or not one:
            raise ValueError(f"{p.name}: the two models answered {len(one)} and {len(two)} items that are not the same")
        metric = p.settings["score"]
        draws = statistics.draw_items(len(one), times, seed)
        scorers = [statistics.item_statistic(metric, items, p.is_macro) for items in (one, two)]
        whole = [float(scorer(np.arange(len(one))[None])[0]) for scorer in scorers]
        drawn[p.name] = scorers[1](draws) - scorers[0](draws)
        rows.append([p.name, metric, len(one), *whole, *_difference(whole[1] - whole[0], drawn[p.name])])
    table = pd.DataFrame(rows, columns=COLUMNS[:9])
    table["p_holm"] = adjust_holm(table.p)
    averaged = [name for name in drawn if name in PAPER_TASKS]
    if len(averaged) > 1:
        table = pd.concat([table, _average(table, averaged, drawn, seed)], ignore_index=True)
    table["significant"] = table.p_holm <= level
    return table


def _difference(found, draws):
    """(difference, low, high, p) of one comparison."""
    low, high = np.quantile(draws, (0.025, 0.975))
    p = 2 * min((draws <= 0).mean(), (draws >= 0).mean())
    return found, float(low), float(high), float(min(1, max(p, 1 / len(draws))))


def _average(table, names, drawn, seed):
    """The row of the average. Tasks have items of their own, so their draws are shuffled before they are added."""
    rng = np.random.default_rng(seed)
    draws = np.mean([rng.permutation(drawn[name]) for name in names], axis=0)
    own = table[table.task.isin(names)]
    whole = [own.before.mean(), own.after.mean()]
    row = ["average", "", own["items"].sum(), *whole, *_difference(whole[1] - whole[0], draws)]
    return pd.DataFrame([[*row, row[-1]]], columns=COLUMNS[:10])  # one comparison of its own: nothing to adjust


def adjust_holm(values):
    """Holm's adjusted p-values, in the order given. Example: [0.01, 0.04] -> [0.02, 0.04]."""
    values = np.asarray(values, dtype=float)
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def measure_consistency(items):
    """Does a model give the same answer to the same item in both languages?

    items   of the tasks consistency_ko and consistency_en
    return  dict: items, same (share of items with the same choice), chance (what two choosers with this model's shares of
            each choice agree on by luck), kappa (agreement beyond that luck, 1 at most), both_right, ko_only, en_only,
            both_wrong (shares). None when one of the tasks was not answered
    """
    ko, en = ({i["id"]: i for i in items if i["task"] == f"consistency_{language}"} for language in ("ko", "en"))
    if not ko or set(ko) != set(en):
        return None
    choices = np.array([(ko[n]["choice"], en[n]["choice"], ko[n]["label"]) for n in ko])
    same = float((choices[:, 0] == choices[:, 1]).mean())
    first = (choices[:, :2] == 0).mean(0)
    chance = float(first.prod() + (1 - first).prod())
    right = choices[:, :2] == choices[:, 2:]
    shares = {
        "both_right": right.all(1).mean(),
        "ko_only": (right[:, 0] & ~right[:, 1]).mean(),
        "en_only": (~right[:, 0] & right[:, 1]).mean(),
        "both_wrong": (~right).all(1).mean(),
    }
    kappa = (same - chance) / (1 - chance) if chance < 1 else 0.0
    return {"items": len(ko), "same": same, "chance": chance, "kappa": kappa} | {k: float(v) for k, v in shares.items()}
