"""Rows: files with something wrong in them, by the functions that read them (bad_files.yaml)."""

import json

from blossom.common import params, paths, runs, stages
from blossom.instructions.drafts import read_drafts
from blossom.instructions.readers import read_instructions
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
    "ko.jsonl": lambda file: list(read_documents(str(file))),
    "manifest.json": lambda file: runs.read_run(file.parent),
    "metrics.json": paths.read_json,
    "set.jsonl": lambda file: read_instructions(str(file), "ko"),
    "drafts.jsonl": read_drafts,
    "words.json": read_donor,
}


def read_file(tmp_path, name, content):
    if isinstance(content, list):
        content = "\n".join(json.dumps(row, ensure_ascii=False) for row in content)
    encoding, text = next(iter(content.items())) if isinstance(content, dict) else ("utf-8", content)
    (tmp_path / name).write_bytes(text.encode(encoding))
    READERS[name](tmp_path / name)


for stage, cases in read_cases(__file__).items():
    for wrong, (name, content, *words) in cases.items():
        case(stage, wrong, ValueError, *words)(
            lambda tmp_path, name=name, content=content: read_file(tmp_path, name, content)
        )
