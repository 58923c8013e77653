"""Shared fixtures: a small parameter set, and the real files of BLOSSOM_ASSETS when they are there."""

import gc
import json
import os
import shutil
from pathlib import Path

import pytest

from blossom.assets.registry import fetch_asset
from blossom.common import params
from blossom.instructions.readers import ADAPTATIONS, read_instructions
from tests.browser import browser, launch  # noqa: F401  (fixtures)

gc.disable()  # while modules are imported: a fifth of the time
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may depend on a hub
SLOW = ("test_notebooks", "test_languages", "test_training", "test_scales")  # minutes each; the slowest first


def pytest_collection_modifyitems(items):
    """Slow files first: of two workers that get whole files, none then ends long before the other."""
    items.sort(key=lambda item: SLOW.index(item.path.stem) if item.path.stem in SLOW else len(SLOW))
    gc.freeze()  # the libraries' objects: looking through them takes a second, and accelerate does so after each training
    gc.enable()


@pytest.fixture
def smoke(tmp_path):
    """`smoke("03_bilingual_pretraining", "blossom-bi", **overrides)`: a stage's parameters, writing below tmp_path."""

    def make(stage, recipe="blossom-bi", **overrides):
        return params.effective_params(stage, "smoke", recipe, outputs=str(tmp_path / "outputs"), **overrides)

    return make


@pytest.fixture(scope="session")
def real_files():
    """The folder BLOSSOM_ASSETS names; the test is skipped when it is not set."""
    folder = os.environ.get("BLOSSOM_ASSETS")
    if not folder:
        pytest.skip("needs the public files: set BLOSSOM_ASSETS to their folder")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def six():
    """Drafts of six authored rows, two of each kind of adaptation, one of several turns."""
    from blossom.instructions.translation import Draft, example_fields

    english, korean = read_instructions("authored-en", "en"), read_instructions("authored-ko", "ko")
    chosen = [[k for k in korean if k.adaptation == a and len(k.messages) == 2][:2] for a in ADAPTATIONS]
    several = next(k for k in korean if len(k.messages) > 2)
    sources = {e.id: e for e in english}
    pairs = [(sources[k.source_id], k) for k in (*chosen[0][:1], several, *chosen[1], *chosen[2])]
    return [Draft(e.id, e.category, example_fields(e), example_fields(k)) for e, k in pairs]


@pytest.fixture
def exported(six, tmp_path):
    """`exported("민지", {id: changes})`: the path of a file as the page exports it; rows not named are left out."""
    from blossom.instructions import review

    same = {"adaptation": "none", "note": "", "done": True, "edited": "2026-11-20T01:00:00Z"}

    def make(reviewer, rows, name=None, top=()):
        chosen = [d for d in six if d.id in rows]
        listed = [same | {"id": d.id} | rows[d.id] | {"fields": d.korean | rows[d.id].get("fields", {})} for d in chosen]
        content = {"format": review.FORMAT, "dataset": review.hash_drafts(six), "reviewer": reviewer, "rows": listed}
        path = tmp_path / f"{name or reviewer}.json"
        path.write_text(json.dumps(content | dict(top), ensure_ascii=False), encoding="utf-8")
        return path

    return make


@pytest.fixture
def serve(request):
    """`serve(reply)`: a running `tests.server.FakeServer`."""
    from tests.server import FakeServer

    def start(reply):
        server = FakeServer(reply)
        request.addfinalizer(server.stop)
        return server

    return start


@pytest.fixture
def broken(tmp_path):
    """`broken(file, change)`: a tiny model's folder, one file of it changed by a function of its bytes (None: none)."""

    def make(file=None, change=None):
        folder = shutil.copytree(fetch_asset("tiny-byte-level"), tmp_path / "mine")
        if file:
            changed = change((folder / file).read_bytes() if (folder / file).exists() else None)
            (folder / file).unlink(missing_ok=True)
            if changed is not None:
                (folder / file).write_bytes(changed)
        return folder

    return make
