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
from safetensors.torch import load_file

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
    rows, _ = visit(hub, tmp_path, SETTINGS["count"].replace("SETS", str([*SETTINGS["sets"]])))
    assert {name: rows.pop(name) for name in SETTINGS["sets"]} == SETTINGS["sets"]
    assert all(9 < test < 20 and 9 < train < 20 and not same for test, train, same in rows.values()), rows
    assert [pattern for pattern in hub.faults if "safetensors" not in pattern] == [], "the connection did not fail"


def test_korean_is_added_to_a_sharded_half_precision_base_with_padding_rows_which_keeps_its_biases(hub, tmp_path):
    sizes = SETTINGS["sizes"] | SETTINGS["runs"][0]["sizes"]
    tuned = tmp_path / "o/qwen2.5-0.5b/blossom-bi-biSFT/04_korean_lima_sft"
    environment = hub.environment(tmp_path / "home")
    run_snakemake(tmp_path / "o", f"{tuned}/manifest.json", environment=environment, set=json.dumps(sizes))
    bits = paths.read_json(tuned.parents[1] / "blossom-bi/03_bilingual_pretraining/metrics.json")["bits_per_byte"]
    assert bits["after"]["korean"] < bits["before"]["korean"]
    loss, bias = paths.read_json(tuned / "metrics.json")["loss"], "model.layers.0.self_attn.q_proj.bias"
    assert loss["after"]["ko"] < loss["before"]["ko"]
    shards = (hub.folder / "models/Qwen/Qwen2.5-0.5B/main").glob("*.safetensors")
    before = next(weights[bias] for weights in map(load_file, shards) if bias in weights)
    assert before.abs().max() > 0 and load_file(tuned / "model/model.safetensors")[bias].equal(before)
    said = [row["after"] for row in paths.read_json(tuned / "metrics.json")["shown"]]
    assert all(said) and "\ufffd" not in "".join(said)


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
