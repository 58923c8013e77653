"""The larger scales with the stand-in of the hub: its ids, schemas and storage formats, a bad connection, no access.

`make hub-rehearsal` runs the scales whole, as a stranger would, in a copy of the project (marker `rehearsal`). Models are
tiny and sets have a few rows; of the scales' parameters only sizes are changed (rehearsal.yaml).
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from blossom.common import paths
from blossom.text.rows import read_rows
from tests.batch import copy_project, run_snakemake
from tests.hub.repositories import fill_hub
from tests.hub.server import HubServer
from tests.test_fetching import visit

SETTINGS = yaml.safe_load(Path(__file__).with_name("rehearsal.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    return HubServer(folder, fill_hub(folder), SETTINGS["faults"])


def test_every_set_is_read_over_a_connection_that_fails_now_and_then(hub, tmp_path):
    code = SETTINGS["programs"]["count"].replace("SETS", str([*SETTINGS["sets"]]))
    rows, _ = visit(hub, tmp_path, code)
    assert {name: rows.pop(name) for name in SETTINGS["sets"]} == SETTINGS["sets"]
    assert all(9 < test < 20 and 9 < train < 20 and not same for test, train, same in rows.values()), rows
    assert [pattern for pattern in hub.faults if "safetensors" not in pattern] == [], "the connection did not fail"


def test_a_model_comes_without_what_is_not_its_own_and_a_gated_one_says_where_to_ask(hub, tmp_path):
    told, _ = visit(hub, tmp_path / "a", SETTINGS["programs"]["fetch"], HF_TOKEN="")
    assert "is gated: ask for access on https://huggingface.co/meta-llama" in told
    files, _ = visit(hub, tmp_path / "b", SETTINGS["programs"]["fetch"])
    assert {"model-00001-of-00003.safetensors", "tokenizer.model"} <= {*files} and "pytorch_model.bin" not in files


def test_korean_is_added_to_a_sharded_half_precision_base_with_padding_rows_and_trained(hub, tmp_path):
    sizes = SETTINGS["sizes"] | SETTINGS["runs"][0]["sizes"]
    manifest = tmp_path / "o/qwen2.5-0.5b/blossom-bi/03_bilingual_pretraining/manifest.json"
    environment = hub.environment(tmp_path / "home")
    run_snakemake(tmp_path / "o", str(manifest), environment=environment, set=json.dumps(sizes))
    bits = paths.read_json(manifest.with_name("metrics.json"))["bits_per_byte"]
    assert bits["after"]["korean"] < bits["before"]["korean"]


@pytest.fixture(scope="module")
def project(hub, tmp_path_factory):
    """(a clone as it is here, with what docs/data.md says is to be put into it, small; its environment)."""
    folder = copy_project(tmp_path_factory.mktemp("rehearsal") / "project")
    pairs = [{"ko": row["ko"], "en": row["en"]} for _, row in read_rows("data/benchmarks/translation.jsonl")]
    paths.write_text(folder / "data/aihub/71265/1.json", json.dumps({"data": pairs}, ensure_ascii=False))
    shutil.copy(folder / "data/instructions/ko.jsonl", folder / "data/korean_lima.jsonl")
    environment = hub.environment(folder / "home") | {"PYTHONPATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, *SETTINGS["prepare"].split()], cwd=folder, env=environment, check=True)
    return folder, environment


@pytest.mark.rehearsal
@pytest.mark.parametrize("run", SETTINGS["runs"], ids=json.dumps)
def test_a_scale_runs_from_end_to_end(project, run):
    folder, environment = project
    config = {"set": json.dumps(SETTINGS["sizes"] | run.get("sizes", {}))}
    config |= {"recipes": run["recipes"]} if "recipes" in run else {}
    target = f"outputs/{run['scale']}/report.html"
    run_snakemake("outputs", target, "-k", "--quiet", "rules", folder=folder, environment=environment, **config)
