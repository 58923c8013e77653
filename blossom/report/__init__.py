"""The report: what the papers say, what this run measured, why they differ."""
