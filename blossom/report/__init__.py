"""The report: what the papers say, what this run measured, why they differ; from the run folders alone.

runs.py       finished runs, and any two of them side by side
claims.py     the papers' claims, each with this run's interval and a verdict
tables.py     the report's tables
plots.py      its figures
sections.py   the page of HTML
sweeps.py     the comparison of a sweep's arms
reference.py  the kept reference run, and a new run against it
book.py       the executed notebooks as one HTML book

python -m blossom.report compare A B      two runs side by side
python -m blossom.report sweep NAME       a sweep's comparison
python -m blossom.report reference        keep the metrics and figures of a finished run in outputs/reference
python -m blossom.report check            compare a run with the kept one
"""
