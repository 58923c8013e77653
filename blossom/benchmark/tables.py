"""The papers' tables, with rows for this run's models below."""

import numpy as np
import pandas as pd

from blossom.benchmark.papers import paper_table6, paper_x_tables, read_papers


def tabulate_table6(scored):
    """Table 6 of the Bllossom paper, with rows below for {model: {task: score}}: percent, index (source, model)."""
    labels, rows = read_papers()["bllossom"]["table6"]["labels"], {}
    for model, scores in scored.items():
        if own := {task: 100 * score["score"] for task, score in scores.items() if task in labels}:
            rows[model] = own | {"average": sum(own.values()) / len(own)}
    labels = labels | {"average": "AVG"}
    return _with_paper(paper_table6(), rows, list(labels)).rename(columns=labels)


def tabulate_paper_x(scored):
    """Tables 3 and 4 of paper X, then a row for each model scored on some of their tasks; accuracy and BLEU, 0 to 1."""
    columns = list(next(iter(paper_x_tables().values())))
    rows = {model: {t: scores[t]["score"] for t in columns if t in scores} for model, scores in scored.items()}
    return _with_paper(paper_x_tables(), {model: row for model, row in rows.items() if row}, columns)


def _with_paper(paper, own, columns):
    rows = {("the paper", model): row for model, row in paper.items()} | {("this run", m): row for m, row in own.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype(float)
    return table.set_index(pd.MultiIndex.from_tuples(rows, names=["source", "model"]))


def tabulate_accuracy(items, by="phenomenon"):
    """Accuracy of one model on its items by a key that some have: it, items, right (share), low, high (95 % interval)."""
    found = pd.DataFrame([(item[by], item["acc"]) for item in items if by in item], columns=[by, "right"])
    table = found.groupby(by, sort=False).right.agg(items="size", right="mean").reset_index()
    low, high = wilson_interval(table.right.to_numpy(), table["items"].to_numpy())
    return table.assign(low=low, high=high)


def wilson_interval(share, count, z=1.96):
    """Wilson's 95 % interval of a share of `count` trials: (low, high), arrays. Example: 0.5 of 10 -> 0.24, 0.76."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return np.minimum(middle - half, share), np.maximum(middle + half, share)  # rounding must not leave the share outside
