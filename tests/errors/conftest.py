"""Fixtures of the rows: folders of models with something wrong in them."""

import shutil

import pytest

from blossom.assets.registry import fetch_asset


@pytest.fixture
def broken(tmp_path):
    """`broken(file, change)`: a tiny model's folder, one file of it changed by a function of its bytes (None: gone)."""

    def make(file=None, change=None, name="mine"):
        folder = tmp_path / name
        shutil.copytree(fetch_asset("tiny-byte-level"), folder)
        if file:
            changed = change((folder / file).read_bytes())
            (folder / file).unlink()
            if changed is not None:
                (folder / file).write_bytes(changed)
        return folder

    return make
