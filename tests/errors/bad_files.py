"""Rows: files, calls, commands and models with something wrong in them (bad_files.yaml)."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pkgutil import resolve_name

import huggingface_hub

from blossom.assets import sources
from blossom.common import params, paths, stages
from blossom.models.loading import load_model
from tests.cases import read_cases
from tests.errors.table import case

TABLE = read_cases(__file__)
READERS = TABLE.pop("readers")


def read_parameters(file):
    values = params.read_params(file)
    for cls in stages.STAGES.values():
        params.build_params(cls, values)


def call(file, name, *given):
    """Call a function of the module; of what is given, FILE is the file, TEXT its path as text, FOLDER its folder."""
    places = {"FILE": file, "TEXT": str(file), "FOLDER": file.parent}
    words = [[places.get(w, w) for w in word] if isinstance(word, list) else places.get(word, word) for word in given]
    found = resolve_name(f"blossom.{name}")(*words)
    return list(found) if isinstance(found, Iterator) else found


def read_file(tmp_path, name, content):
    if isinstance(content, list):
        content = "\n".join(json.dumps(row, ensure_ascii=False) for row in content)
    encoding, text = next(iter(content.items())) if isinstance(content, dict) else ("utf-8", content)
    (tmp_path / name).write_bytes(text.encode(encoding))
    read_parameters(tmp_path / name) if name == "mine.yaml" else call(tmp_path / name, *READERS[name])


def call_function(tmp_path, name, content):
    call(tmp_path / "none", name, *content)


def run_command(tmp_path, name, content):
    (tmp_path / "mine.yaml").write_text(content)
    words = [sys.executable, "-m", *shlex.split(name.replace("FOLDER", str(tmp_path)))]
    done = subprocess.run(words, cwd=paths.ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    told = done.stdout + done.stderr
    assert done.returncode == 1 and "params.py" not in told
    start = told.find("Exception encountered")  # papermill shows the cells before it; Snakemake's last line tells
    return told[start:] if start >= 0 else told.splitlines()[-1]


def load_changed(broken, name, content):
    def changed(old):
        if isinstance(content, dict):
            return json.dumps(json.loads(old) | content).encode()
        return old[:content] if isinstance(content, int) else content and content.encode()

    load_model(broken(name, changed))


def read_lineage(tmp_path, monkeypatch, name, content):
    for own, text in content.items():
        (tmp_path / f"{own}.yaml").write_text(text + "\n")
    monkeypatch.setattr(params, "recipe_file", lambda name: tmp_path / f"{name}.yaml")
    params.recipe_lineage(name)


def fetch_refused(monkeypatch, serve, name, content):
    status, code = content
    server = serve(lambda body, n: (status, {"X-Error-Code": code, "X-Error-Message": "no", "Content-Length": "0"}, ""))
    real, elsewhere = huggingface_hub.snapshot_download, {"endpoint": server.url.removesuffix("/v1"), "token": False}
    monkeypatch.setattr(sources, "WAITS", ())
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **more: real(repo, **elsewhere, **more))
    sources.fetch_snapshot(name)


MAKERS = {"files": read_file, "calls": call_function, "commands": run_command, "models": load_changed}
MAKERS |= {"recipes": read_lineage, "hub": fetch_refused}
ERRORS = {"hub": RuntimeError, "commands": None}
for kind, stages_of_kind in TABLE.items():
    for stage, cases in stages_of_kind.items():
        for wrong, (name, content, *words) in cases.items():
            case(stage, wrong, ERRORS.get(kind, ValueError), *words)(partial(MAKERS[kind], name=name, content=content))
