"""Rows: files, calls and models with something wrong in them (bad_files.yaml)."""

import json
from functools import partial
from pkgutil import resolve_name

import huggingface_hub

from blossom.assets import sources
from blossom.benchmark.rows import read_task_rows
from blossom.common import params, paths, runs, stages
from blossom.instructions import readers, translation
from blossom.models.loading import load_model
from blossom.preference import people
from blossom.text.corpus import read_documents
from blossom.vocabulary.pieces import read_donor
from tests.cases import read_cases
from tests.errors.table import case


def read_parameters(file):
    values = params.read_params(file)
    for cls in stages.STAGES.values():
        params.build_params(cls, values)


READERS = {
    "mine.yaml": read_parameters,
    "ko.txt": lambda file: list(read_documents(str(file))),
    "ko.csv": lambda file: list(read_documents(str(file))),
    "set.md": lambda file: readers.read_instructions(str(file), "ko"),
    "hub.jsonl": lambda file: list(read_documents(f"hub:{file.parent}")),
    "ko.jsonl": lambda file: list(read_documents(str(file))),
    "manifest.json": lambda file: runs.read_run(file.parent),
    "metrics.json": paths.read_json,
    "set.jsonl": lambda file: readers.read_instructions(str(file), "ko"),
    "drafts.jsonl": translation.read_drafts,
    "klue_nli.json": lambda file: read_task_rows("klue_nli", file.parent),
    "words.json": read_donor,
    "secret.key": lambda file: people.keep_secret(file.parent),
}


def read_file(tmp_path, name, content):
    if isinstance(content, list):
        content = "\n".join(json.dumps(row, ensure_ascii=False) for row in content)
    encoding, text = next(iter(content.items())) if isinstance(content, dict) else ("utf-8", content)
    (tmp_path / name).write_bytes(text.encode(encoding))
    READERS[name](tmp_path / name)


def call_function(tmp_path, name, content):
    list(resolve_name(f"blossom.{name}")(*(tmp_path if word == "FOLDER" else word for word in content)))


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


MAKERS = {"files": read_file, "calls": call_function, "models": load_changed, "recipes": read_lineage, "hub": fetch_refused}
for kind, stages_of_kind in read_cases(__file__).items():
    for stage, cases in stages_of_kind.items():
        for wrong, (name, content, *words) in cases.items():
            make = partial(MAKERS[kind], name=name, content=content)
            case(stage, wrong, RuntimeError if kind == "hub" else ValueError, *words)(make)
