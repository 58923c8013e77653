"""The items that bench_eval asks both sides: rows of the real files in BLOSSOM_ASSETS."""

import os
import tempfile
from pathlib import Path

from blossom.benchmark.suite import GROUPS, prepare_tasks

TRANSLATED = "parallel/news_dev_en_ko.tsv"  # the one of the parallel files that is news, as paper X's test is


def prepare(task, folder, items):
    """`items` rows of a task (0: all), drawn with seed 0 and written to `folder` as lm-eval reads them."""
    root = Path(os.environ["BLOSSOM_ASSETS"])
    with tempfile.TemporaryDirectory() as linked:
        source = root / "benchmarks"
        if task in GROUPS["translation"]:
            source = Path(linked)
            (source / "translation.tsv").symlink_to(root / TRANSLATED)
        return prepare_tasks([task], folder, source, items=items)[0]
