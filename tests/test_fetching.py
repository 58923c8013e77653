"""Fetching from the hub: over a bad connection, after an interruption, without a network, with a read-only cache."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import pytest
import yaml
from datasets import Dataset

from blossom.assets.__main__ import list_sources, run_prefetch_command
from blossom.assets.registry import fetch_asset, fetch_url, make_once
from blossom.common import params, paths
from blossom.text.hub import parse_hub
from tests.cases import read_cases
from tests.hub.server import HubServer

START = "import json, sys; from blossom.assets import sources; sources.WAITS = (0.01, 0.02)\n"
CODE = read_cases(__file__)
OTHERS = "consolidated.safetensors pytorch_model.bin code.py a.pkl original/consolidated.00.pth original/x.json".split()
MODEL = ["config.json", "chat_template.jinja", "model.safetensors", "tokenizer.json", "tokenizer.model"]
ARTICLES = [{"id": str(n), "text": f"문서 {n} " + "가" * 300} for n in range(4000)]


@pytest.fixture
def hub(tmp_path):
    """A hub with a model, a set of two Parquet files, and a set that is a script."""
    for name, file in product(("model", "other"), [*MODEL, *OTHERS]):
        paths.write_text(tmp_path / "hub/models/me" / name / "main" / file, "x" * 1000)
    texts, script = tmp_path / "hub/datasets/me/texts/main", tmp_path / "hub/datasets/me/script"
    paths.write_text(script / "main/script.py", "raise SystemExit")
    copy = script / "refs%2Fconvert%2Fparquet/plain/test/0000.parquet"
    parts = {copy: ARTICLES[:3], texts / "ko/train-0.parquet": ARTICLES[::2], texts / "ko/train-1.parquet": ARTICLES[1::2]}
    for file, rows in parts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_list(rows).to_parquet(file, batch_size=200)
    card = {"configs": [{"config_name": "ko", "data_files": [{"split": "train", "path": "ko/train-*"}]}]}
    paths.write_text(texts / "README.md", f"---\n{yaml.safe_dump(card)}---\n")
    server = HubServer(tmp_path / "hub")
    yield server
    server.stop()


def visit(hub, home, code, **changes):
    """(JSON that a process prints whose hub this is, what it says beside)."""
    env = hub.environment(home) | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"} | changes
    done = subprocess.run([sys.executable, "-c", START + code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_a_bad_connection_is_tried_again_and_what_was_fetched_is_found_offline(hub, tmp_path):
    hub.faults = {r"^/api/datasets/me/texts$": "503", r"^/api/datasets/me/script": "cut", "api/models/me/model": "503"}
    hub.faults |= {"train-0.parquet": "cut", "0000.parquet": "503", "^/me/model/.*model.safetensors": "cut"}
    online, said = visit(hub, tmp_path / "home", CODE["read"])
    assert hub.faults == {} and "127.0.0.1 (HTTP 503): trying again in" in said
    first = [row["id"] for row in ARTICLES[::2][:7]]
    assert online == [[first, ["0", "1", "2"]], sorted(MODEL), sorted(set(MODEL) - {"model.safetensors"})]
    asked = len(hub.asked)
    assert not [path for path in hub.asked if "train-1" in path], "the other file of the set was downloaded"
    for offline in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        assert visit(hub, tmp_path / "home", CODE["read"], **offline)[0] == online
    assert len(hub.asked) == asked


def test_as_many_bytes_are_read_as_are_asked_for_and_an_interrupted_set_goes_on_where_it_stopped(hub, tmp_path):
    (texts, read), _ = visit(hub, tmp_path, CODE["large"])
    sizes = [len(text.encode()) for text in texts]
    assert sum(sizes[:-1]) < 2_000_000 <= sum(sizes)
    assert texts == [row["text"] for row in ARTICLES[::2] + ARTICLES[1::2]][: len(texts)]
    folder, (first, second) = tmp_path / "blossom/hub/me%2Ftexts%3Ako", read["files"]
    (folder / "set.json").unlink()
    (folder / second).unlink()
    whole = (folder / first).stat().st_mtime_ns
    assert visit(hub, tmp_path, CODE["large"])[0] == [texts, read] and (folder / first).stat().st_mtime_ns == whole
    stored = "".join((folder / name).read_text(encoding="utf-8") for name in read["files"]).splitlines()
    assert [json.loads(line) for line in stored] == ARTICLES[::2] + ARTICLES[1::2]


def test_one_command_lists_and_fetches_what_a_scale_reads(monkeypatch, tmp_path, capsys):
    found = list_sources("llama2-13b", ["blossom-bi-biSFT"])
    assert found["meta-llama/Llama-2-13b-chat-hf"] and not found["kobert"] and "smollm2-135m-instruct" not in found
    assert {"hub:wikimedia/wikipedia:20231101.ko", "hub:e9t/nsmc:default:test", "hub:GAIR/lima:plain_text:train"} <= {*found}
    assert len([name for name in found if name.startswith(("hub:klue", "hub:skt/kobest"))]) == 7
    assert [name for name in found if name.endswith("kosbi_test.json")] and not [n for n in found if "aihub" in n]
    assert {"aligned-en-ko", "prose-en", "wordfreq-ko"} <= set(list_sources("laptop", ["base-bi"]))
    assert "aligned-en-ko" in list_sources("qwen2.5-0.5b", ["base"])  # notebook 08 shows a translation
    qwen = params.effective_params("03_bilingual_pretraining", "qwen2.5-0.5b", "blossom-bi")
    assert parse_hub(qwen.korean_texts[0]).bytes > 4.5 * qwen.training_tokens * qwen.korean_share
    monkeypatch.setenv("BLOSSOM_CACHE", str(tmp_path))
    assert run_prefetch_command(["prefetch", "--scale", "smoke"]) == 0 and "MB  tiny-byte-level" in capsys.readouterr().out
    monkeypatch.setattr("blossom.assets.__main__.list_sources", lambda *_: {"hub:me/gone:ko": False, "smoke-ko": False})
    assert run_prefetch_command(["prefetch", "--scale", "smoke"]) == 1
    out = capsys.readouterr().out
    assert "not fetched  hub:me/gone:ko: " in out and "Fetch it where there is a network" in out and "MB  smoke-ko" in out


def test_a_long_address_becomes_a_short_name_with_the_same_end(monkeypatch, tmp_path):
    monkeypatch.setenv("BLOSSOM_CACHE", str(tmp_path))
    monkeypatch.setattr("blossom.assets.registry.fetch_from", lambda url, download: url.encode())
    files = [fetch_url(f"https://host/{'a' * 300}{n}.jsonl") for n in range(2)]
    assert [f.read_text()[-7:] for f in files] == ["0.jsonl", "1.jsonl"] and {f.suffix for f in files} == {".jsonl"}


def test_what_a_full_cache_has_no_room_for_is_made_in_a_folder_until_the_process_ends(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("BLOSSOM_CACHE", str(tmp_path))
    full = tmp_path / "packed" / "a.txt"

    def make(file):
        if file.parent == full.parent:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write_text("x")

    made = make_once(full, make, movable=True)
    assert made.read_text() == "x" and made != full and not full.exists() and str(made.parents[1]) in capfd.readouterr().err
    with pytest.raises(OSError, match="no space left to write it"):
        make_once(full, make)


def test_a_cache_that_may_not_be_written_is_read_and_says_what_to_set(monkeypatch, capfd):
    folder = Path(tempfile.mkdtemp())
    folder.joinpath("there.txt").write_text("x")
    monkeypatch.setenv("BLOSSOM_CACHE", str(folder))
    root = os.geteuid() == 0
    folder.chmod(0o555)
    try:
        if root:  # to whom no folder is closed
            os.seteuid(65534)
        assert make_once(folder / "there.txt", None).read_text() == "x"
        with pytest.raises(RuntimeError, match=f"{folder}.*Set BLOSSOM_CACHE.*: cp -rs {folder} NEW"):
            make_once(folder / "hub/set.json", None)
        assert fetch_asset("tiny-byte-level") == fetch_asset("tiny-byte-level") and fetch_asset("smoke-ko").is_file()
        assert re.findall(f"{folder}: .*Set BLOSSOM_CACHE.*", capfd.readouterr().err)[1:] == [], "said once"
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)
