"""Benchmarks: table 6's eight tasks, paper X's, and further measurements, run by lm-eval on authored or public data."""
