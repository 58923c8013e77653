"""The papers' own numbers, from papers.yaml."""

from functools import cache

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
