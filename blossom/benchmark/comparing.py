"""Compare two models on the same items: paired differences with intervals, and three primary measures that decide."""

import numpy as np
import pandas as pd

from blossom.benchmark import statistics, suite

PRIMARY = ("general_korean", "minimal_pairs_ko", "general_english")  # declared in advance; all others explore
COLUMNS = "measure metric items before after difference low high p primary constant p_holm decided".split()


def compare_models(before, after, times=2000, seed=0, level=0.05):
    """Differences between two models by a paired bootstrap over items or documents: a row for each measure of both models.

    before, after  lists of items of the two models (items.jsonl); ValueError where a measure's items or prompts differ
    times          bootstrap draws, the same for both models
    level          family-wise error of `decided`, which only a primary measure can be (Holm's correction over these)
    return         DataFrame, primary measures first, the average of table 6 last: before and after are bits/byte (lower is
                   better) or scores from 0 to 1, low and high the 95 % interval of after - before, p two-sided (at
                   least 1/times and that of a sign test of the items answered differently; over 0.05, the interval holds
                   0); constant: a model gave one answer to all items, so that the task is in no family of tests
    """
    tasks = dict.fromkeys(item["task"] for item in before)  # in their order
    one, two = ({t: own for t in tasks if (own := [i for i in items if i["task"] == t])} for items in (before, after))
    rows, drawn, apart = [], {}, {}
    for name in sorted((n for n in one if n in two), key=lambda n: (*PRIMARY, n).index(n)):
        ids = [[(i.get("id", i.get("item")), i.get("bytes")) for i in items[name]] for items in (one, two)]
        if ids[0] != ids[1]:
            raise ValueError(f"{name}: the two models answered {len(ids[0])} and {len(ids[1])} items that are not the same")
        digests = {i["digest"] for items in (one, two) for i in items[name] if "digest" in i}  # older items have none
        if len(digests) > 1:
            raise ValueError(f"{name}: the two models read other rows or prompts: run 05 again with equal parameters")
        count = len(ids[0])
        metric = "bits_per_byte" if "nats" in one[name][0] else one[name][0].get("metric", "acc")
        draws = statistics.draw_items(count, times, seed)
        scorers = [statistics.item_statistic(metric, items[name]) for items in (one, two)]
        whole = [float(scorer(np.arange(count)[None])[0]) for scorer in scorers]
        drawn[name] = statistics.widen_draws(scorers[1](draws) - scorers[0](draws), whole[1] - whole[0], count)
        answers = [{i.get("choice", n) for n, i in enumerate(items[name])} for items in (one, two)]
        constant = min(map(len, answers)) == 1 < count
        apart[name] = sum(_answer(a, metric) != _answer(b, metric) for a, b in zip(one[name], two[name], strict=True))
        rows.append([name, metric, count, *whole, *_interval(whole, drawn[name], apart[name]), name in PRIMARY, constant])
    table = pd.DataFrame(rows, columns=COLUMNS[:-2])
    family = table.primary.astype(bool) & ~table.constant.astype(bool)
    table.loc[family, "p_holm"] = adjust_holm(table.p[family])
    averaged = [name for name in drawn if name in suite.PAPER_TASKS]
    if len(averaged) > 1:
        rng = np.random.default_rng(seed)  # tasks have items of their own: shuffled, their draws are independent
        draws = np.mean([rng.permutation(drawn[name]) for name in averaged], axis=0)
        own = table[table.measure.isin(averaged)]
        whole, count, changed = [own.before.mean(), own.after.mean()], int(own["items"].sum()), sum(map(apart.get, averaged))
        name = "average" if len(averaged) == len(suite.PAPER_TASKS) else f"average of {len(averaged)} tasks"
        row = [name, "", count, *whole, *_interval(whole, draws, changed), False, False, np.nan]
        table.loc[len(table)] = row
    table["decided"] = table.p_holm.astype(float) <= level
    return table[COLUMNS]


def _answer(item, metric):
    return item.get(metric, item.get("choice", item.get("answer", item.get("nats"))))


def _interval(whole, draws, count):
    """(difference, low, high, p) of one comparison; no p is below that of a sign test of the `count` items that differ."""
    low, high = np.quantile(draws, (0.025, 0.975))
    p = min(1, max(2 * min((draws <= 0).mean(), (draws >= 0).mean()), 1 / len(draws), 2.0 ** (1 - count)))
    low, high = (min(low, 0), max(high, 0)) if p > 0.05 else (low, high)  # few items: the draws vary too little
    return whole[1] - whole[0], float(low), float(high), float(p)


def adjust_holm(values):
    """Holm's adjusted p-values: a Series with the index of `values`. Example: [0.01, 0.04] -> [0.02, 0.04]."""
    rising = pd.Series(values, dtype=float).sort_values()
    return (rising * np.arange(len(rising), 0, -1)).cummax().clip(upper=1).sort_index()
