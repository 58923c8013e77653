"""Compare two models on the same items: paired differences with intervals, and significance adjusted for many tests."""

import numpy as np
import pandas as pd

from blossom.benchmark.statistics import draw_items, item_statistic
from blossom.benchmark.suite import GROUPS, PAPER_TASKS


def compare_scores(prepared, before, after, times=2000, seed=0, level=0.05):
    """Differences between two models' scores by a paired bootstrap: a row for each task, then the paper's average.

    before, after  lists of items of the two models, from `read_evaluation`; ValueError unless the items are the same
    times, level   bootstrap draws of the items, the same for both models; family-wise error of `significant`
    return         DataFrame: scores from 0 to 1, low and high (95 % interval of the difference), p (two-sided, at least
                   1/times), p_holm, significant
    """
    rows, drawn = [], {}
    for p in prepared:
        one, two = ([i for i in items if i["task"] == p.name] for items in (before, after))
        if [i["id"] for i in one] != [i["id"] for i in two] or not one:
            raise ValueError(f"{p.name}: the two models answered {len(one)} and {len(two)} items that are not the same")
        metric, draws = p.settings["score"], draw_items(len(one), times, seed)
        scorers = [item_statistic(metric, items, p.is_macro) for items in (one, two)]
        whole = [float(scorer(np.arange(len(one))[None])[0]) for scorer in scorers]
        drawn[p.name] = scorers[1](draws) - scorers[0](draws)
        rows.append([p.name, metric, len(one), *whole, *_interval(whole, drawn[p.name])])
    table = pd.DataFrame(rows, columns="task metric items before after difference low high p".split())
    table["p_holm"] = adjust_holm(table.p)
    averaged = [name for name in drawn if name in PAPER_TASKS]
    if len(averaged) > 1:
        rng = np.random.default_rng(seed)  # tasks have items of their own: shuffled, their draws are independent
        draws = np.mean([rng.permutation(drawn[name]) for name in averaged], axis=0)
        own = table[table.task.isin(averaged)]
        whole = [own.before.mean(), own.after.mean()]
        found = _interval(whole, draws)
        table.loc[len(table)] = ["average", "", own["items"].sum(), *whole, *found, found[-1]]  # one test: nothing to adjust
    table["significant"] = table.p_holm <= level
    return table


def _interval(whole, draws):
    """(difference, low, high, p) of one comparison."""
    low, high = np.quantile(draws, (0.025, 0.975))
    p = 2 * min((draws <= 0).mean(), (draws >= 0).mean())
    return whole[1] - whole[0], float(low), float(high), float(min(1, max(p, 1 / len(draws))))


def adjust_holm(values):
    """Holm's adjusted p-values, in the order given. Example: [0.01, 0.04] -> [0.02, 0.04]."""
    values = np.asarray(values, dtype=float)
    order = np.argsort(values)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1)
    return adjusted


def measure_consistency(items):
    """How often a model gives the same answer to an item in both languages; None unless both tasks were answered.

    return  dict: items, same (share of items with the same choice), chance (that share for independent choices),
            kappa (Cohen's), both_right, ko_only, en_only, both_wrong (shares)
    """
    ko, en = ({i["id"]: i for i in items if i["task"] == task} for task in GROUPS["consistency"])
    if not ko or set(ko) != set(en):
        return None
    label, one, two = np.array([(ko[n]["label"], ko[n]["choice"], en[n]["choice"]) for n in ko]).T
    right_ko, right_en = one == label, two == label
    kinds = {"both_right": right_ko & right_en, "ko_only": right_ko & ~right_en, "en_only": ~right_ko & right_en}
    kinds |= {"both_wrong": ~right_ko & ~right_en, "same": one == two}
    shares = {kind: float(share.mean()) for kind, share in kinds.items()}
    chance = float(sum((one == choice).mean() * (two == choice).mean() for choice in (0, 1)))
    kappa = (shares["same"] - chance) / (1 - chance) if chance < 1 else 0.0
    return {"items": len(ko), "chance": chance, "kappa": kappa} | shares
