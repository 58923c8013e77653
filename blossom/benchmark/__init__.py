"""Benchmarks: table 6's eight tasks, paper X's, and further measurements, as lm-eval tasks on authored or public data."""

from blossom.benchmark.comparing import consistency, differences
from blossom.benchmark.data import SOURCES, read
from blossom.benchmark.evaluation import average, describe, evaluate, plan
from blossom.benchmark.papers import paper_model, paper_table6, paper_x_tables, papers
from blossom.benchmark.several import comparators, resolve, score
from blossom.benchmark.suite import GROUPS, PAPER, Prepared, members, names, prepare
from blossom.benchmark.tables import josa_table, table6, table_x, wilson

__all__ = [
    "GROUPS",
    "PAPER",
    "SOURCES",
    "Prepared",
    "average",
    "comparators",
    "consistency",
    "describe",
    "differences",
    "evaluate",
    "josa_table",
    "members",
    "names",
    "paper_model",
    "paper_table6",
    "paper_x_tables",
    "papers",
    "plan",
    "prepare",
    "read",
    "resolve",
    "score",
    "table6",
    "table_x",
    "wilson",
]
