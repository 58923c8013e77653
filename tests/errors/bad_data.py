"""Rows: parameters, texts, downloads and the hub, the report, instruction sets, their translation and review."""

# fmt: off
from dataclasses import replace

from blossom.assets import registry, sources
from blossom.common import params, paths, runs, stages
from blossom.instructions import review
from blossom.report import agreement
from blossom.text.corpus import read_corpus, read_documents
from tests.errors.table import case

FILES = "parameters"
case(FILES, "a comma within a number, in a notebook", ValueError, "added_pieces", "found tuple (2, 0)")(
    lambda: params.collect_params(stages.VocabMerge, {"added_pieces": (2, 0)}))

@case(FILES, "another base than the earlier stage's", ValueError, "base_model", "'tiny-byte-level'", "'my/model'")
def other_base(smoke):
    runs.Run(smoke("02_vocab_merge"), "02_vocab_merge").finish({})
    runs.require_model(smoke("03_bilingual_pretraining", base_model="my/model"), "03_bilingual_pretraining")


TEXTS = "texts"

@case(TEXTS, "a text smaller than what is held out of it", ValueError, "korean_texts", "ko.txt", "2 different lines",
     "heldout_lines")
def too_small(tmp_path, smoke):
    (tmp_path / "ko.txt").write_text("하나\n둘\n", encoding="utf-8")
    read_corpus(smoke("03_bilingual_pretraining", korean_texts=[str(tmp_path / "ko.txt")], heldout_lines=20))

case(TEXTS, "a folder without texts", ValueError, "holds no text")(lambda tmp_path: list(read_documents(str(tmp_path))))


HUB = "downloads and the hub"
case(HUB, "one file of the hub, without a network", RuntimeError, "meta-llama/Llama-2-13b-chat-hf", "could not be fetched")(
    lambda: sources.fetch_hub_file("meta-llama/Llama-2-13b-chat-hf", "no-such-file.model"))

@case(HUB, "a clone that lacks a file of the repository", RuntimeError, "data/text/general_en.txt", "git checkout")
def no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    registry.fetch_asset("general-en")


@case("report (07)", "a run's metrics edited by hand", ValueError, "metrics.json", "manifest.json")
def edited_metrics(smoke):
    run = runs.Run(smoke("05_benchmark_eval"), "05_benchmark_eval")
    run.finish({"average": 0.5})
    (run.folder / "metrics.json").write_text('{"average": 0.9}')
    runs.read_run(run.folder)

@case("report (07)", "recipes scored on other benchmarks", ValueError, "benchmarks: 'authored' in base/05_benchmark_eval",
      "'mine' in base-bi/05_benchmark_eval", "measured alike")
def other_benchmarks(smoke):
    asked = {"base": "authored", "base-bi": "mine"}
    made = [runs.Run(smoke(stages.SCORED, recipe, benchmarks=name), stages.SCORED) for recipe, name in asked.items()]
    agreement.check_measures({(run.p.recipe, stages.SCORED): run.finish({}) and runs.read_run(run.home) for run in made})

REVIEW = "translation and review (04)"
case(REVIEW, "a reviewer's file of another data set", ValueError, "민지.json", "another dataset", "000000000000")(
    lambda six, exported: review.read_review(exported("민지", {}, top={"dataset": "0" * 64}), six))

@case(REVIEW, "nothing is marked as done", ValueError, "marked as done")
def nothing_done(six, exported, tmp_path):
    review.write_merged(review.merge_reviews(six, [exported("민지", {})]), tmp_path / "set.jsonl")

case(REVIEW, "half a character in a draft", ValueError, "broken character", "반쪽")(
    lambda six: review.hash_drafts([replace(six[0], korean=six[0].korean | {"output": "반쪽 \ud83d"})]))
