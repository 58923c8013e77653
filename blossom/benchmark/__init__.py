"""Benchmarks: table 6's eight tasks and paper X's, as lm-eval tasks on authored, public or hub data; stage 05."""

from blossom.benchmark.data import read
from blossom.benchmark.evaluation import average, describe, evaluate, plan
from blossom.benchmark.papers import paper_model, paper_table6, paper_x_tables, papers
from blossom.benchmark.sources import SOURCES
from blossom.benchmark.suite import PAPER, Prepared, names, prepare

__all__ = [
    "PAPER",
    "SOURCES",
    "Prepared",
    "average",
    "describe",
    "evaluate",
    "names",
    "paper_model",
    "paper_table6",
    "paper_x_tables",
    "papers",
    "plan",
    "prepare",
    "read",
]
