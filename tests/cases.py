"""Tables of cases, from the YAML file beside a test file."""

from pathlib import Path

import yaml


def read_cases(file):
    """{table: its cases} of `test_x.yaml` for a test's `__file__`."""
    return yaml.safe_load(Path(file).with_suffix(".yaml").read_text(encoding="utf-8"))
