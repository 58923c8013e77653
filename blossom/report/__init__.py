"""The report: what the papers say, what this run measured, why they differ; from the run folders alone.

python -m blossom.report compare A B      two runs side by side
python -m blossom.report sweep NAME       a sweep's comparison
python -m blossom.report reference        keep the metrics and figures of a finished run in outputs/reference
python -m blossom.report check            compare a run with the kept one
"""

from blossom.report.claims import EXPLAINED
from blossom.report.claims import table as claims_table
from blossom.report.claims import tested as tested_claims
from blossom.report.plots import plot_answers, plot_bits, plot_claims, plot_costs, plot_equal, plot_scores
from blossom.report.runs import Stage, compare, find, load, read, tree
from blossom.report.sections import Section, gallery, html_table, page, picture, preference_pictures
from blossom.report.sweeps import sweep_section
from blossom.report.tables import answers, bits, comparison, costs, equal, recipes, scores

__all__ = [
    "EXPLAINED",
    "Section",
    "Stage",
    "answers",
    "bits",
    "tested_claims",
    "claims_table",
    "compare",
    "comparison",
    "costs",
    "equal",
    "find",
    "gallery",
    "html_table",
    "load",
    "page",
    "picture",
    "preference_pictures",
    "plot_answers",
    "plot_bits",
    "plot_claims",
    "plot_costs",
    "plot_equal",
    "plot_scores",
    "read",
    "recipes",
    "scores",
    "sweep_section",
    "tree",
]
