"""Two runs side by side, from their folders alone."""

from pathlib import Path

import pandas as pd

from blossom.common.runs import read_run


def compare_runs(a, b):
    """What differs between two runs, recipes or scales, given by their folders: DataFrames (parameters, metrics).

    Both have the columns stage, name, a, b, with "–" where only one run has a value; metrics also have change (b - a) and
    relative (change / |a|). Only stages that both folders have are compared.
    """
    first, second = _list_runs(a), _list_runs(b)
    if len(first) == len(second) == 1:
        second = dict(zip(first, second.values(), strict=True))  # two single runs may be of any stage and name
    common = [name for name in first if name in second]
    if not common:
        raise ValueError(f"{a} and {b} have no stage in common: {', '.join(first)}; {', '.join(second)}")
    code = "git_commit", "versions"
    given = [{n: side[n].params | {k: side[n].manifest[k] for k in code} for n in common} for side in (first, second)]
    parameters = _list_differences({n: [side[n] for side in given] for n in common})
    metrics = _list_differences({n: (first[n].metrics, second[n].metrics) for n in common})
    before, after = (pd.to_numeric(metrics[side], errors="coerce") for side in "ab")
    metrics["change"] = after - before
    metrics["relative"] = metrics["change"] / before.abs().where(before != 0)
    return parameters, metrics


def _list_differences(stages):
    rows = []
    for stage, pair in stages.items():
        one, two = map(flatten_metrics, pair)
        rows += [(stage, name, one.get(name, "–"), two.get(name, "–")) for name in one | two]
    return pd.DataFrame([row for row in rows if row[2] != row[3]], columns=["stage", "name", "a", "b"])


def _list_runs(folder):
    """{stage or "recipe/stage": FinishedRun} in a folder."""
    folder = Path(folder)
    if (folder / "manifest.json").exists():
        return {folder.name: read_run(folder)}
    found = sorted(folder.glob("*/manifest.json")) or sorted(folder.glob("*/*/manifest.json"))
    if not found:
        raise ValueError(f"{folder}: no finished run there, nor one or two folders below (no manifest.json)")
    return {str(file.parent.relative_to(folder)): read_run(file.parent) for file in found}


def flatten_metrics(values, prefix=""):
    """Nested dicts and lists as one dict with dotted names.

    Example: {"a": {"b": 1}, "t": [{"pair": "x", "n": 2}]} -> {"a.b": 1, "t.x.pair": "x", "t.x.n": 2}
    """
    if isinstance(values, list):
        values = {_row_name(value, n): value for n, value in enumerate(values)}
    if not isinstance(values, dict):
        return {prefix: values}
    found = {}
    for name, value in values.items():
        found |= flatten_metrics(value, f"{prefix}.{name}" if prefix else str(name))
    return found


def _row_name(row, number):
    """An item of a list is named by its first two texts, so that the name does not change when the order does."""
    texts = [v for v in row.values() if isinstance(v, str)] if isinstance(row, dict) else []
    return ".".join(texts[:2]) or number
