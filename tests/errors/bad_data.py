"""Rows: texts, downloads and the hub, benchmarks, the report, instruction sets, their translation and review."""

# fmt: off
import json
from dataclasses import replace

import huggingface_hub

from blossom.assets import sources
from blossom.assets.registry import fetch_asset
from blossom.assets.sources import fetch_hub_file, fetch_snapshot
from blossom.benchmark.rows import read_task_rows
from blossom.benchmark.suite import prepare_tasks
from blossom.common import params, paths, runs, stages
from blossom.instructions import merging, review
from blossom.text.corpus import read_corpus, read_documents
from tests.errors.table import case

TEXTS = "texts"


def read(path):
    return list(read_documents(str(path)))


case(TEXTS, "a file that is not there", ValueError, "novels/ko.txt", "no such asset, file or folder")(
    lambda: read("novels/ko.txt"))
case(TEXTS, "a folder without texts", ValueError, "holds no text")(lambda tmp_path: read(tmp_path))

@case(TEXTS, "a text smaller than what is held out of it", ValueError, "korean_texts", "ko.txt", "2 different lines",
     "heldout_lines")
def too_small(tmp_path, smoke):
    (tmp_path / "ko.txt").write_text("하나\n둘\n", encoding="utf-8")
    read_corpus(smoke("03_bilingual_pretraining", korean_texts=[str(tmp_path / "ko.txt")], heldout_lines=20))

@case(TEXTS, "a data set without a column `text`", ValueError, "row 1", "field 'text'", "found {'line': '하나'}")
def no_column(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"line": "하나"}\n', encoding="utf-8")
    read(f"hub:{tmp_path / 'set'}")


HUB = "downloads and the hub"
case(HUB, "a name that is no asset, path or hub id", ValueError, "'smollm'", "aligned-en-ja")(lambda: fetch_asset("smollm"))
case(HUB, "a path without a file, in the form of a hub id", ValueError, "data/korean_lima.jsonl", "no such file or folder")(
    lambda: fetch_asset("data/korean_lima.jsonl"))


for wrong, status, code, repo, words in (
    ("a gated model (Llama), without access", 403, "GatedRepo", "meta-llama/Llama-2-13b-chat-hf",
     ("gated", "https://huggingface.co/meta-llama/Llama-2-13b-chat-hf", "`hf auth login`")),
    ("a model that the hub does not have", 404, "RepoNotFound", "no/such-model", ("no such model", "`hf auth login`")),
    ("the hub answers 500", 500, "", "some/model", ("some/model", "could not be fetched", "500")),
):
    @case(HUB, wrong, RuntimeError, *words)
    def refused(monkeypatch, serve, status=status, code=code, repo=repo):
        server = serve(lambda body, n: (status, {"X-Error-Code": code, "X-Error-Message": "no", "Content-Length": "0"}, ""))
        real, elsewhere = huggingface_hub.snapshot_download, {"endpoint": server.url.removesuffix("/v1"), "token": False}
        monkeypatch.setattr(sources, "WAITS", ())
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **more: real(repo, **elsewhere, **more))
        fetch_snapshot(repo)

case(HUB, "one file of the hub, without a network", RuntimeError, "meta-llama/Llama-2-13b-chat-hf", "could not be fetched")(
    lambda: fetch_hub_file("meta-llama/Llama-2-13b-chat-hf", "no-such-file.model"))

@case(HUB, "a clone that lacks a file of the repository", RuntimeError, "data/text/general_en.txt", "git checkout")
def no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    fetch_asset("general-en")


TASKS = "benchmarks (05)"
NLI = {"premise": "비가 온다.", "hypothesis": "땅이 젖는다.", "gold_label": "entailment"}


def read_nli(tmp_path, records):
    (tmp_path / "klue_nli.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return read_task_rows("klue_nli", tmp_path)
case(TASKS, "a task that does not exist", ValueError, "tasks", "'klue_nly'")(
    lambda tmp_path: prepare_tasks(["klue_nly"], tmp_path))
case(TASKS, "a folder that does not exist", ValueError, "benchmarks", "expected 'authored'", "'hub'")(
    lambda tmp_path: read_task_rows("klue_nli", tmp_path / "nowhere"))
case(TASKS, "a folder without the task's file", ValueError, "no file of klue_nli", "klue_nli.json")(
    lambda tmp_path: read_task_rows("klue_nli", tmp_path))
case(TASKS, "an unknown label", ValueError, "row 2", "klue_nli", "label", "무관")(
    lambda tmp_path: read_nli(tmp_path, [NLI, NLI | {"gold_label": "무관"}]))
case(TASKS, "an empty split", ValueError, "klue_nli.json")(lambda tmp_path: read_nli(tmp_path, []))
case(TASKS, "examples in the prompt, but no training file", ValueError, "klue_sts")(
    lambda tmp_path: prepare_tasks(["klue_sts"], tmp_path, shots=2))


REPORT = "report (07)"

@case(REPORT, "a run's metrics edited by hand", ValueError, "metrics.json", "manifest.json")
def edited_metrics(tmp_path, smoke, monkeypatch):
    p = smoke("07_report", "report", recipes=["only"])
    (tmp_path / "only.yaml").write_text("stages: [05_benchmark_eval]\n")
    monkeypatch.setattr(params, "recipe_file", lambda name: tmp_path / f"{name}.yaml")
    run = runs.Run(params.build_params(stages.BenchmarkEval, {"scale": "smoke", "recipe": "only", "outputs": p.outputs}),
                    "05_benchmark_eval")
    run.finish({"average": 0.5})
    (run.folder / "metrics.json").write_text('{"average": 0.9}')
    runs.read_runs(p.outputs, p.scale, p.recipes)

REVIEW = "translation and review (04)"
case(REVIEW, "a reviewer's file of another data set", ValueError, "민지.json", "another dataset", "000000000000")(
    lambda six, exported: merging.read_review(exported("민지", {}, top={"dataset": "0" * 64}), six))

@case(REVIEW, "a file that the page did not write", ValueError, "mine.json", "expected a file exported by the review page")
def no_export(six, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    merging.read_review(tmp_path / "mine.json", six)

@case(REVIEW, "nothing is marked as done", ValueError, "marked as done")
def nothing_done(six, exported, tmp_path):
    merging.write_merged(merging.merge_reviews(six, [exported("민지", {})]), tmp_path / "set.jsonl")

case(REVIEW, "half a character in a draft", ValueError, "broken character", "반쪽")(
    lambda six: review.hash_drafts([replace(six[0], korean=six[0].korean | {"output": "반쪽 \ud83d"})]))
