"""Folders of models with something wrong in them."""

import shutil

import pytest

from blossom.assets.registry import fetch_asset


@pytest.fixture
def broken(tmp_path):
    """`broken(file, change)`: a tiny model's folder, one file of it changed by a function of its bytes (None: none)."""

    def make(file=None, change=None):
        folder = tmp_path / "mine"
        shutil.copytree(fetch_asset("tiny-byte-level"), folder)
        if file:
            changed = change((folder / file).read_bytes() if (folder / file).exists() else None)
            (folder / file).unlink(missing_ok=True)
            if changed is not None:
                (folder / file).write_bytes(changed)
        return folder

    return make
