"""The report: what the papers say, what this run measured, why they differ.

tables.py     the report's tables
claims.py     the papers' claims, each with this run's interval and a verdict
plots.py      the report's figures
changes.py    two runs side by side
convert.py    executed notebooks as HTML
book.py       the executed notebooks of a scale as one HTML book
sweeps.py     the comparison of a sweep's arms
reference.py  the kept reference run, and a new run compared with it
__main__.py   python -m blossom.report page|compare|sweep|reference|check
"""
