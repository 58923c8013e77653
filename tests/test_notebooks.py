"""Every notebook, executed by the batch engine at scale smoke: a tiny random model, whose scores mean nothing."""

import gzip
import itertools
import json
import math
import re
import subprocess
from functools import partial
from unittest.mock import Mock

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.stats import t
from sklearn.metrics import accuracy_score, f1_score
from test_course import check_book, run_cell, run_solutions
from test_people import exported, for_model
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from blossom.assets.registry import fetch_asset
from blossom.batch import terminal
from blossom.common import params, paths, runs, stages
from blossom.preference import people, prompts
from blossom.report.tables import compare_with_paper
from blossom.text.corpus import draw_bytes, read_corpus
from tests.batch import run_snakemake
from tests.server import FakeServer

MERGE = "02_vocab_merge"
RUNS = [(r, s) for r in ("base", "blossom-bi", "blossom-bi-biSFT") for s in params.read_recipe(r).stages]
RUNS += [("report", stage) for stage in stages.READERS]
CHAPTERS = {stage: recipe for recipe, stage in RUNS}  # one recipe of each stage


@pytest.fixture(scope="session")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs") / '내 출력 "q" it\'s $NONE; 🌸'
    told = run_snakemake(folder, f"{folder}/smoke/report.html", "--quiet", "all")
    paths.write_text(folder / "told.txt", told.stdout + told.stderr)
    return folder


@pytest.fixture(scope="session")
def metrics(outputs):
    """`metrics("base", "05_benchmark_eval")`: what a stage measured."""
    return lambda recipe, stage: paths.read_json(outputs / "smoke" / recipe / stage / "metrics.json")


def test_a_batch_tells_of_each_stage_in_a_line_and_at_the_end_what_was_found(outputs):
    lines = (outputs / "told.txt").read_text(encoding="utf-8").split("\n")
    done = [line.split("  done in ")[0] for line in lines if re.fullmatch(r"\[\d+/13\] .*  done in \d+ (s|min)", line)]
    assert len(done) == 13 and {*done} < {*lines} and lines[-6].startswith("Held-out text with ")
    assert lines[-2:] == [f"The report: {outputs}/smoke/report.html", ""]


@pytest.mark.parametrize(("recipe", "stage"), RUNS)
def test_a_stage_leaves_a_whole_record_and_the_figures_that_it_shows(outputs, recipe, stage):
    folder = outputs / "smoke" / recipe / stage
    manifest = paths.read_json(folder / "manifest.json")
    assert manifest["outputs"]["metrics.json"] == paths.hash_path(folder / "metrics.json")
    assert manifest["outputs"]["params.yaml"] == paths.hash_path(folder / "params.yaml")
    assert manifest["wall_seconds"] > 0 and manifest["peak_bytes"] > 1e7
    assert not list(folder.rglob("*.part"))
    book = nbformat.read(folder / "notebook.ipynb", 4)
    assert all(c.execution_count for c in book.cells if c.cell_type == "code" and c.source)
    figures = list((folder / "figures").glob("*.png"))
    assert figures and all(f.stat().st_size > 5000 for f in figures)
    shown = [o for c in book.cells for o in c.get("outputs", ())]
    assert len([o for o in shown if "image/png" in o.get("data", {})]) >= len(figures)
    html = [o["data"]["text/html"] for o in shown if "text/html" in o.get("data", {})]
    assert html and all("mathjax_ignore" in one for one in html)  # all went through blossom.common.pages


def test_01_counts_how_korean_is_spelled_and_02_the_tokens_of_unseen_lines_by_its_saved_tokenizer(outputs, metrics):
    for name, row in metrics("base", "01_tokenization_analysis")["tokenizers"].items():
        assert row["korean"]["fertility"] > row["english"]["fertility"] > 0, name
    m, text = metrics("blossom-bi", MERGE), read_corpus(params.effective_params(MERGE, "smoke", "blossom-bi"))
    saved = outputs / "smoke" / "blossom-bi" / MERGE / "model" / "tokenizer.json"
    both = [Tokenizer.from_file(str(file)) for file in (fetch_asset("tiny-byte-level") / "tokenizer.json", saved)]
    for name, lines in text.heldout().items():
        assert not {*lines} & {*text.korean, *text.english}
        counted = [sum(len(one.encode(line, add_special_tokens=False).ids) for line in lines) for one in both]
        assert [m[f"{name}_tokens_before"], m[f"{name}_tokens_after"]] == counted
        assert counted[0] == counted[1] if "english" in name else counted[0] > counted[1]
    drawn = m["budget"][str(m["added"])]["most useful first"]  # the figure's title is this over the words of both texts
    assert drawn == m["korean_tokens_after"] + m["general_korean_tokens_after"]
    run = runs.read_run(outputs / "smoke" / "blossom-bi" / MERGE)
    theirs = {"new": 7478, "unreachable": 1122, "Korean (general): tokens per word": 2.0}
    run.metrics["paper_merge"] = dict.fromkeys(("Llama-2", "the paper's"), theirs)
    assert "1,122 of 7,478" in compare_with_paper({("blossom-bi", MERGE): run}).to_string()


def test_02_names_the_rows_with_which_its_saved_model_reads_korean_best(outputs, metrics):
    m, p = metrics("blossom-bi", MERGE), params.effective_params(MERGE, "smoke", "blossom-bi")
    saved = outputs / "smoke" / "blossom-bi" / MERGE / "model"
    bits = {rows: row["korean"] for rows, row in m["step0"].items() if rows != "base"}
    model, tokenizer = AutoModelForCausalLM.from_pretrained(saved), Tokenizer.from_file(str(saved / "tokenizer.json"))
    lines = draw_bytes(read_corpus(p).heldout()["korean"], p.bake_off_bytes)
    rows = [torch.tensor(tokenizer.encode("<|endoftext|>" + line, add_special_tokens=False).ids) for line in lines]
    with torch.no_grad():
        nats = sum(model(input_ids=ids[None], labels=ids[None]).loss.item() * (len(ids) - 1) for ids in rows)
    measured = nats / math.log(2) / sum(len(line.encode()) for line in lines)
    assert m["bits_per_byte"]["korean"] == bits[m["row_init"]] == pytest.approx(measured, abs=0.01)
    made = run_cell(MERGE, "rows_step0", p=p, table=pd.DataFrame(m["step0"]).T, run=Mock())
    name, least = min(bits.items(), key=lambda row: row[1])
    assert made["axis"].get_title("left").endswith(f"(corpus): {name} {least:.2f}, random {bits['random']:.2f} (not drawn)")
    plt.close("all")


def test_04_learns_answers_in_both_languages(metrics):
    m = metrics("blossom-bi-biSFT", "04_korean_lima_sft")
    assert all(m["loss"]["after"][k] < m["loss"]["before"][k] for k in ("ko", "en"))
    assert m["labelled_tokens"] > 0
    assert m["adaptations"]["none"] > 0 and sum(m["adaptations"].values()) > 8  # those trained on and those held out


@pytest.mark.parametrize("recipe", ["base", "blossom-bi", "blossom-bi-biSFT"])
def test_05_scores_the_eight_tasks(outputs, metrics, recipe):
    tasks = metrics(recipe, "05_benchmark_eval")["tasks"]
    assert len(tasks) == 8
    for name, row in tasks.items():
        assert 0 <= row["score"] <= 1 and row["stderr"] >= 0 and row["items"] == 8, name
        assert row["prompt_hash"] and 0 < row["majority_share"] <= 1, name
    found = {}
    for line in (outputs / "smoke" / recipe / "05_benchmark_eval" / "items.jsonl").read_text(encoding="utf-8").splitlines():
        if (item := json.loads(line)).get("model", recipe) == recipe and item["task"] in tasks:
            found.setdefault(item["task"], []).append((int(item["label"]), int(item["choice"])))
    for name, pairs in found.items():  # score and best constant answer, both in the task's own metric
        averaged = {"average": "macro" if name.startswith("kobest") else "binary", "zero_division": 0}
        measure = accuracy_score if tasks[name]["metric"] == "acc" else partial(f1_score, **averaged)
        labels, choices = zip(*pairs, strict=True)
        assert tasks[name]["score"] == pytest.approx(measure(labels, choices)), name
        constant = max(measure(labels, [label] * len(labels)) for label in {*labels})
        assert tasks[name]["constant"] == pytest.approx(constant), name
    average = sum(row["score"] for row in tasks.values()) / 8
    assert metrics(recipe, "05_benchmark_eval")["average"] == pytest.approx(average) and len(found) == 8


@pytest.mark.parametrize("recipe", ["blossom-bi", "blossom-bi-biSFT"])
def test_05_decides_as_many_differences_as_a_bootstrap_of_its_items_does(outputs, recipe):
    folder, decided, tested = outputs / "smoke" / recipe / "05_benchmark_eval", 0, 0
    items, draws = pd.read_json(folder / "items.jsonl", lines=True), np.random.default_rng(7).integers(0, 8, (4000, 8))
    names = [*items.model.unique()]
    for pair in [*itertools.pairwise(names), *[(names[0], names[-1])][: len(names) - 2]]:
        found = []
        for task, own in items[items.task.isin(["general_korean", "general_english", "minimal_pairs_ko"])].groupby("task"):
            sides = [own[own.model == name] for name in pair]
            if task != "minimal_pairs_ko" or min(side.choice.nunique() for side in sides) > 1:
                parts = [(side.nats.fillna(side.acc), side.bytes.fillna(1)) for side in sides]
                before, after = (a.to_numpy()[draws].sum(1) / b.to_numpy()[draws].sum(1) for a, b in parts)
                whole = np.diff([a.sum() / b.sum() for a, b in parts])
                wide = whole + (after - before - whole) * t.ppf(0.975, 7) / 1.96 * (8 / 7) ** 0.5  # an interval of 8 items
                found.append(2 * min((wide <= 0).mean(), (wide >= 0).mean()))
        holm = [(len(found) - n) * p <= 0.05 for n, p in enumerate(sorted(found))]
        decided, tested = decided + [*holm, False].index(False), tested + 3
    told = f"{decided} of {tested} primary differences are decided (Holm, 5 %)"
    assert decided and told in (folder / "notebook.ipynb").read_text(encoding="utf-8")


def test_06_answers_in_two_languages_and_says_that_nobody_judged(metrics):
    m = metrics("blossom-bi-biSFT", "06_qualitative_eval")
    assert m["judge"] is None
    assert set(m["models"]) == {"base", "base-bi", "blossom-bi-biSFT"}
    assert all(0 <= m["models"][r][k]["answered_in_language"] <= 1 for r in m["models"] for k in ("ko", "en"))


def test_07_begins_with_numbers_that_follow_from_the_scored_items(outputs, metrics):
    shown = {(row["model"], row["measure"]): row for row in metrics("report", "07_report")["models"]}
    for recipe in ("base", "base-bi", "blossom-bi", "blossom-bi-biSFT"):
        lines = (outputs / "smoke" / recipe / "05_benchmark_eval" / "items.jsonl").read_text(encoding="utf-8").splitlines()
        items = [item for item in map(json.loads, lines) if item.get("model", recipe) == recipe]
        for name in ("general_korean", "general_english", "korean"):
            read = [(item["nats"], item["bytes"]) for item in items if item["task"] == name]
            nats, size = map(sum, zip(*read, strict=True))
            row = shown[recipe, name]
            assert row["value"] == pytest.approx(nats / math.log(2) / size) and row["low"] <= row["value"] <= row["high"]
        right = [item["acc"] for item in items if item["task"] == "minimal_pairs_ko"]
        assert shown[recipe, "minimal_pairs_ko"]["value"] == pytest.approx(100 * sum(right) / len(right))
    for row in metrics("report", "07_report")["comparisons"]:
        found = [row[when] * (1 if row["metric"] == "bits_per_byte" else 100) for when in ("before", "after")]
        assert found == pytest.approx([shown[row[who], row["measure"]]["value"] for who in ("against", "model")])
        assert row["difference"] == pytest.approx(row["after"] - row["before"])


def test_07_sets_the_papers_beside_the_run(outputs, metrics):
    page = (outputs / "smoke" / "report.html").read_text(encoding="utf-8")
    expected = "39,478|5.977|why they differ|blossom-bi-biSFT|No judge|claims, one by one|Decided|equal compute"
    assert [words for words in expected.split("|") if words.lower() not in page.lower()] == []
    merged = [metrics("blossom-bi", MERGE)[f"korean_tokens_{when}"] for when in ("before", "after")]
    average = 100 * metrics("blossom-bi", "05_benchmark_eval")["average"]
    read = metrics("blossom-bi", "03_bilingual_pretraining")["read"]["tokens"]
    for told in (f"{1 - merged[1] / merged[0]:.0%} fewer", f"blossom-bi {average:.1f} % [", f"{read:,} tokens each in 03"):
        assert told in page, told
    assert "<script src" not in page and "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("stage", stages.STAGES)
def test_solutions_run_after_the_last_cell(outputs, stage):
    assert run_solutions(outputs, CHAPTERS[stage], stage)


def test_the_run_becomes_a_book_whose_links_all_lead_somewhere(outputs):
    check_book(outputs / "smoke/book")
    assert "No description" not in (outputs / "smoke/book/02_vocab_merge-blossom-bi.html").read_text(encoding="utf-8")
    text = (outputs / "smoke/book/index.html").read_text(encoding="utf-8")
    assert all(f"{stage}-{recipe}.html" in text for stage, recipe in CHAPTERS.items()) and "../report.html" in text


RERUN = {"": [], "prompts_per_language: 3": ["06_qualitative_eval", *stages.READERS], "dpi: 90": ["07_report"]}


@pytest.mark.parametrize("changed", RERUN)
def test_a_changed_parameter_reruns_its_stage_and_those_after_it_alone(outputs, changed):
    plan = run_snakemake(outputs, "-n", f"{outputs}/smoke/report.html", set=f"{{{changed}}}")
    assert sorted(set(re.findall(r"^    output: .*/(\S+)/manifest.json \(update\)$", plan.stdout, re.M))) == RERUN[changed]


def test_the_ablation_runs_every_recipe_and_makes_one_vocabulary(tmp_path):
    plan = run_snakemake(tmp_path, "--configfile", "params/ablation.yaml", "-n", "-p", f"{tmp_path}/laptop/ablation.html")
    wanted = yaml.safe_load((paths.ROOT / "params/ablation.yaml").read_text())["recipes"]
    assert {"base-koSFT", "base-ko", "blossom-ko", "blossom-bi-koSFT", "cross-lingual"} < set(wanted)
    for recipe in wanted:
        for stage in params.read_recipe(recipe).stages:
            assert f"{tmp_path}/laptop/{recipe}/{stage}/manifest.json" in plan.stdout
    assert plan.stdout.count("blossom.batch stage 02_vocab_merge") == 1
    assert str(paths.ROOT) not in plan.stdout.split("Shell command:", 1)[1], "a moved project would run again"
    assert plan.stdout.count("-m blossom.batch link") == 1, "blossom-ko takes blossom-bi's"


def test_the_line_of_a_stage_has_its_steps_and_the_time_left_for_them(tmp_path, monkeypatch):
    now = itertools.count(0, 30)
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    old = "step 40/40 of an earlier run, which failed\n"
    job = terminal.RunningJob("[4/10] blossom-bi · 03 pretraining", tmp_path / "log.txt", skipped=len(old))
    shown_for = {"": "30 s", "step 70/274  loss 5": "70/274", "step 137/274  loss 4": "137/274, about 61 s left"}
    shown_for["step 274/274  loss 3"] = "2 min"
    for line, shown in shown_for.items():
        job.log.write_text(old + line)
        assert job.describe() == f"{job.name}  {shown}"


def test_a_sweep_of_two_points_of_which_one_has_run_is_compared_and_keeps_a_run_that_then_fails(outputs, tmp_path):
    (text := tmp_path / "more.txt").write_text("하나\n", encoding="utf-8")
    definition = {"question": "Does a text change it?", "recipes": ["base"], "stages": ["01_tokenization_analysis"]}
    definition |= {"grid": {"more_korean": [[], [str(text)]]}}
    definition |= {"measures": {"fertility": "01_tokenization_analysis/tokenizers.tiny-byte-level.korean.fertility"}}
    paths.write_json(tmp_path / "mine/texts.yaml", definition)  # JSON is YAML
    run, folder = partial(run_snakemake, outputs, sweeps=tmp_path / "mine"), outputs / "sweeps/texts"
    run(target := folder / "comparison-smoke/comparison.html")
    found = paths.read_json(target.with_suffix(".json"))
    assert [row["runs"] for row in found["arms"]] == [1, 1] and found["differences"][0]["verdict"] == "one run"
    linked, manifest = sorted(folder.glob("more*/smoke/base/01_tokenization_analysis/manifest.json"))
    assert linked.with_name("metrics.json").is_symlink() and "Nothing to be done" in str(run(target))
    made = manifest.read_bytes()
    text.write_bytes("하나".encode("cp949"))  # a changed file is noticed
    told = run(manifest, "--quiet", "all", code=1).stderr.split("\n")
    assert told[-4].endswith("analysis  failed") and told[-3].startswith(f"  ValueError: {text}"), told
    assert told[-2:] == [f"  Details: {manifest.parent}.unfinished/log.txt", ""] and manifest.read_bytes() == made
    text.write_text("하나\n", encoding="utf-8")  # file and parameters are again those of the earlier run
    assert "01_tokenization_analysis/manifest.json (update)" in run(manifest, "-n").stdout


ANSWER = "답변입니다."


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    asked = prompts.read_prompts("authored-prompts", 3)
    answers = [prompt | {"model": model, "answer": ANSWER} for model in ("mine", "other") for prompt in asked]
    folder = paths.stage_folder(str(outputs), "smoke", "mine", "06_qualitative_eval")
    for name, secret in (("good", people.keep_secret(folder / "raters")), ("of-another-batch", None)):
        batch = people.make_batch(answers, raters=["가람"], repeats=1, secret=secret)
        paths.write_json(outputs / "sent" / f"{name}.json", exported(batch, "가람", for_model(batch, "mine")))
    paths.write_text(folder / "figures" / "figure4_people.png", "of an earlier run")
    server = FakeServer(lambda body, n: ANSWER if len(body["messages"]) == 1 else "A is significantly better")
    own = {"recipe": "mine", "compare_with": "other", "served": [f"{name}@{server.url}" for name in ("mine", "other")]}
    own |= {"more_models": [], "prompts_per_language": 3, "raters": ["가람"], "rater_repeats": 1}
    (outputs / "words.txt.gz").write_bytes(gzip.compress("답변\t0.001\n".encode()))
    own |= {"rating_files": [str(outputs / "sent")], "word_frequencies": str(outputs / "words.txt.gz")}
    own |= {"outputs": str(outputs), "judge_url": server.url, "judge_examples": 3}
    layers = ["-f", "params/scales/smoke.yaml", "-y", json.dumps(own, ensure_ascii=False)]
    command = ["papermill", "notebooks/06_qualitative_eval.ipynb", str(outputs / "out.ipynb"), "--cwd", ".", *layers]
    ran = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    server.stop()
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder, (outputs / "out.ipynb").read_text(encoding="utf-8")


def test_a_rater_and_a_judge_reach_the_figures_and_the_metrics(done):
    folder, book = done
    metrics = paths.read_json(folder / "metrics.json")
    assert metrics["figures"] == ["figure2", "figure3", "figure5_people", "figure5_judge"]
    assert all((folder / "figures" / f"{name}.png").stat().st_size > 5000 for name in metrics["figures"])
    assert not (folder / "figures" / "figure4_people.png").exists()
    assert metrics["people"]["files"] == {"taken": 1, "refused": 1} and "of another batch" in book
    people_said = [row for row in metrics["preference"] if row["source"] == "people"]
    assert [(row["language"], row["win"]) for row in people_said] == [("ko", 1.0), ("en", 1.0)]
    assert list((folder / "raters").rglob("rate-가람.html"))
    judge = metrics["judge"]  # it always says A
    assert judge["model"] == "m" and (judge["win"], judge["tie"], judge["loss"], judge["flips"]) == (0, 0, 0, 6)
    assert judge["examples"] == 3 and judge["obeyed"] == 0 and judge["probes"] == 2 and judge["sent"] <= 17
