"""Shared fixtures: a small parameter set, and the real files of BLOSSOM_ASSETS when they are there."""

import os
from pathlib import Path

import pytest

from blossom import params

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may depend on a hub


@pytest.fixture
def smoke(tmp_path):
    """`smoke("03_bilingual_pretraining", "blossom-bi", **overrides)`: a stage's parameters, writing below tmp_path."""

    def make(stage, recipe="blossom-bi", **overrides):
        return params.effective(stage, "smoke", recipe, outputs=str(tmp_path / "outputs"), **overrides)

    return make


@pytest.fixture(scope="session")
def real_files():
    """The folder BLOSSOM_ASSETS names; the test is skipped when it is not set."""
    folder = os.environ.get("BLOSSOM_ASSETS")
    if not folder:
        pytest.skip("needs the public files: set BLOSSOM_ASSETS to their folder")
    return Path(folder)
