"""The papers' own numbers, from papers.yaml, and their tables with rows for this run's models below."""

from functools import cache

import pandas as pd

from blossom.common import paths


@cache
def read_papers():
    return paths.read_yaml_beside(__file__)


def paper_table6():
    """Table 6 of the Bllossom paper: {model: {task of ours: percent, ..., "average": percent}}, in the paper's order."""
    table = read_papers()["bllossom"]["table6"]
    return {model: dict(zip([*table["tasks"], "average"], row, strict=True)) for model, row in table["rows"].items()}


def paper_model(recipe):
    """The name in table 6 of a recipe's model ("blossom-bi" -> "Blossom-bi"); None for recipes that it does not have."""
    return read_papers()["bllossom"]["recipes"].get(recipe)


def paper_x_tables():
    """Tables 3 and 4 of paper X: {model: {column: accuracy or BLEU from 0 to 1}}; None where it reports nothing."""
    table = read_papers()["cross_lingual"]["scores"]
    return {model: dict(zip(table["columns"], row, strict=True)) for model, row in table["rows"].items()}


def tabulate_table6(scored):
    """Table 6 of the Bllossom paper, with rows below for {model: {task: score}}: percent, index (source, model)."""
    labels, rows = read_papers()["bllossom"]["table6"]["labels"], {}
    for model, scores in scored.items():
        if own := {task: 100 * score["score"] for task, score in scores.items() if task in labels}:
            rows[model] = own | ({"average": sum(own.values()) / len(own)} if len(own) == len(labels) else {})
    labels = labels | {"average": "AVG"}
    return _with_paper(paper_table6(), rows, list(labels)).rename(columns=labels)


def tabulate_paper_x(scored, what="score"):
    """Tables 3 and 4 of paper X, then rows of models scored on their tasks: accuracy and BLEU (0 to 1), or what="items"."""
    printed, columns = paper_x_tables(), read_papers()["cross_lingual"]["scores"]["columns"]
    printed = dict.fromkeys(printed, read_papers()["cross_lingual"]["scores"]["items"]) if what == "items" else printed
    rows = {model: {t: scores[t][what] for t in columns if t in scores} for model, scores in scored.items()}
    return _with_paper(printed, {model: row for model, row in rows.items() if row}, columns)


def _with_paper(paper, own, columns):
    rows = {("the paper", model): row for model, row in paper.items()}
    rows |= {("the reference" if "(reference)" in model else "this run", model): row for model, row in own.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype(float)
    return table.set_index(pd.MultiIndex.from_tuples(rows, names=["source", "model"])).rename(index={"Ours": "paper X"})
