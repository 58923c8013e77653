"""The papers' tables with this run's rows below them."""

import numpy as np
import pandas as pd

from blossom.benchmark.papers import paper_table6, paper_x_tables, read_papers


def tabulate_table6(scored):
    """Table 6 of the Bllossom paper, then a row for each model that was scored on some of its tasks.

    scored  {model: {task: score}}
    return  DataFrame in percent: index (source, model), source "the paper" or "this run"; columns the paper's, then AVG,
            the mean over the tasks a model has
    """
    labels = read_papers()["bllossom"]["table6"]["labels"] | {"average": "AVG"}
    rows = {("the paper", model): row for model, row in paper_table6().items()}
    for model, scores in scored.items():
        own = {task: 100 * score["score"] for task, score in scores.items() if task in labels}
        if own:
            rows["this run", model] = own | {"average": sum(own.values()) / len(own)}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(labels)).rename(columns=labels)
    return table.set_index(pd.MultiIndex.from_tuples(rows, names=["source", "model"])).astype(float)


def tabulate_paper_x(scored):
    """Tables 3 and 4 of paper X, then a row for each model scored on some of their tasks; accuracy and BLEU, 0 to 1."""
    rows = {("the paper", model): row for model, row in paper_x_tables().items()}
    columns = list(next(iter(rows.values())))
    for model, scores in scored.items():
        own = {task: scores[task]["score"] for task in columns if task in scores}
        if own:
            rows["this run", model] = own
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.set_index(pd.MultiIndex.from_tuples(rows, names=["source", "model"])).astype(float)


def tabulate_josa(items, prepared):
    """Josa agreement by pair: a row a pair, then all of them.

    items     of one model;  prepared  the tasks, whose rows say which pair an item is of
    return    DataFrame: pair, items, right (share), low, high (95 % Wilson interval of the share); empty without josa items
    """
    pair_of = {row["id"]: row["pair"] for p in prepared if p.name == "josa" for row in p.rows}
    answered = pd.DataFrame([(pair_of[i["id"]], i["acc"]) for i in items if i["task"] == "josa"], columns=["pair", "right"])
    whole = answered.assign(pair="all")
    table = pd.concat([answered, whole]).groupby("pair", sort=False).right.agg(["size", "mean"]).reset_index()
    table.columns = ["pair", "items", "right"]
    low, high = wilson_interval(table.right.to_numpy(), table["items"].to_numpy())
    return table.assign(low=low, high=high)


def wilson_interval(share, count, z=1.96):
    """Wilson's interval of a share of `count` trials: (low, high), arrays. Example: 0.5 of 10 -> 0.24, 0.76."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return middle - half, middle + half
