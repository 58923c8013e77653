"""The report: runs read back, claims judged, sweeps compared, the reference kept and checked; on made folders."""

import itertools
import json
import os
import re
import shutil
import time
from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from test_course import run_cell

from blossom.assets.registry import list_named_files
from blossom.batch import plan
from blossom.benchmark.papers import read_papers
from blossom.common import params, paths, runs, stages
from blossom.common.runs import Run, read_run
from blossom.report import agreement, claims, crossover, headline, reference, sweeps, tables
from blossom.report.__main__ import run_report_command
from tests.cases import read_cases

CASES = read_cases(__file__)

STAGE = "05_benchmark_eval"


def made(root, recipe, stage, metrics, items=(), scale="smoke", **settings):
    """A finished run's folder, as `Run` leaves it."""
    p = replace(params.effective_params(stage, scale, recipe, outputs=str(root)), **settings)
    run = Run(p, stage)
    if items:
        (run.folder / "items.jsonl").write_text("\n".join(json.dumps(i) for i in items) + "\n", encoding="utf-8")
    figure, _ = plt.subplots()
    run.figure(figure, "a")
    plt.close(figure)
    run.finish(metrics, outputs=["items.jsonl"] if items else [])
    return run.folder


def scored(root, recipe, right, task):
    """A finished benchmark run; `right` says which items of the task its model got right."""
    about = {"model": recipe, "task": task, "label": 0}
    items = [about | {"id": str(n), "choice": int(not r), "acc": float(r)} for n, r in enumerate(right)]
    score = {"metric": "acc", "score": float(np.mean(right)), "stderr": 0.05, "majority_share": 0.5, "constant": 0.5}
    return made(root, recipe, STAGE, {"tasks": {task: score}, "probes": {}, "average": score["score"]}, items)


@pytest.mark.parametrize("verdict", CASES["verdicts"])
def test_a_verdict_needs_the_whole_interval(verdict):
    assert {claims.judge_interval(*case, 1.8)[0] for case in CASES["verdicts"][verdict]} == {verdict}


def test_a_claim_is_tested_on_the_items_both_models_answered(tmp_path):
    right = {"blossom-ko": [n % 4 > 0 for n in range(40)], "blossom-bi": [n % 4 == 0 for n in range(40)]}
    found = {(r, STAGE): read_run(scored(tmp_path, r, right[r], task="klue_sts")) for r in right}
    checked = {c.says: c for c in claims.check_claims(found, times=500)}
    lowered = checked["Bilingual pretraining lowers STS"]
    assert lowered.verdict == "supported" and -100 < lowered.low < lowered.value == -50 < lowered.high < 0
    assert lowered.shows.startswith("blossom-ko 75.0 → blossom-bi 25.0: -50.0 [")
    fewer = found | {("blossom-bi", STAGE): read_run(scored(tmp_path, "blossom-bi", right["blossom-bi"][1:], "klue_sts"))}
    other = next(c for c in claims.check_claims(fewer) if c.says == lowered.says)
    assert other.verdict == "not tested" and "not measured alike: klue_sts: the two models answered 40 and 39" in other.why
    missing = checked["Instruction tuning does not raise the average (base-koSFT)"]
    assert {missing.verdict, checked["Bilingual pretraining raises SBI"].verdict} == {"not tested"}
    assert "base-koSFT" in missing.why


def test_every_claim_stands_beside_the_papers_own_number():
    listed = claims.check_claims({})
    assert {c.verdict for c in listed} == {"not tested"} and all(c.theirs and c.paper and c.why for c in listed)
    assert {c.says: c.expected for c in listed if c.says in CASES["expected"]} == pytest.approx(CASES["expected"])


def test_a_claim_not_run_here_is_an_earlier_runs_and_says_so(tmp_path):
    found = {(r, STAGE): read_run(scored(tmp_path, r, [True, False] * 8, "kosbi")) for r in ("blossom-ko", "blossom-bi")}
    kept = {"verdict": "supported", "shows": "base 30 → base-ko 40", "value": 10.0}
    says = "Korean pretraining raises the average", "Bilingual pretraining raises SBI", "Expansion lowers SBI"
    checked = {c.says: c for c in claims.check_claims(found, kept=dict.fromkeys(says[:2], kept))}
    assert [checked[s].run for s in says] == [reference.EARLIER, "this run", "this run"]
    assert [checked[s].verdict for s in says] == ["supported", "undecided", "not tested"]
    assert checked[says[0]].shows == kept["shows"] and checked[says[0]].expected == pytest.approx(4)
    run = SimpleNamespace(metrics={"claims": {"The expanded vocabulary spells Korean with fewer tokens": kept}})
    given = {"p": SimpleNamespace(margin=1.8, bootstraps=9), "runs": {}, "explored": pd.DataFrame(), "rates": ""}
    given |= {"differences": "", "pace": "", "sides": [], "made": "", "compared": headline.compare_recipes({})[0]}
    given["reference"] = SimpleNamespace(read_reference=lambda _: {("ablation", "07_report"): run})
    told = run_cell("07_report", "results = ", **given)["results"][0]
    assert told.startswith("Held-out text with new tokens in an earlier run (outputs/reference): base 30 → base-ko 40;")


def measured(root, recipe, bits, right, english):
    """A finished stage 05: 40 documents of two texts at about these bits/byte, and 64 minimal pairs."""
    rng, items = np.random.default_rng(len(recipe)), []
    for task, level in (("general_korean", bits), ("general_english", english)):
        own = [level * (1 + 0.2 * np.sin(n)) + rng.normal(0, 0.01) for n in range(40)]
        items += [{"task": task, "item": n, "nats": b * np.log(2) * (100 + n), "bytes": 100 + n} for n, b in enumerate(own)]
    items += [{"task": "minimal_pairs_ko", "id": str(n), "choice": n % 2, "acc": float(n < right)} for n in range(64)]
    return read_run(made(root, recipe, STAGE, {"tasks": {}, "texts": {}}, [i | {"model": recipe} for i in items]))


@pytest.mark.parametrize(("recipes", "pairs"), CASES["pairs"])
def test_each_model_is_compared_with_its_parent_its_twin_and_the_base(recipes, pairs):
    assert headline.pair_models(recipes) == [tuple(pair) for pair in pairs]


def test_bad_news_is_stated_as_good_news_is_and_what_is_undecided_as_such(tmp_path):
    made_of = {"base": (2.7, 32, 1.4), "base-bi": (2.4, 52, 1.4), "blossom-bi": (2.9, 51, 1.5)}
    runs = {(recipe, STAGE): measured(tmp_path, recipe, *numbers) for recipe, numbers in made_of.items()}
    table, _ = headline.compare_recipes(runs, 500, {"general_korean": (1e-4, 2e-4)})
    told = {(r.model, r.against, r.measure): headline.state_difference(r) for r in table.itertuples()}
    assert headline.state_best(table)[0].startswith("Lowest bits/byte of new Korean text: base-bi. Against base: predicts ")
    counts = "4 worse (blossom-bi against base: 2, blossom-bi against base-bi: 2)."
    assert len(told) == 9 and headline.count_decided(table).endswith(counts)
    assert [row for *row, pattern in CASES["told"] if not re.match(pattern, told[tuple(row)])] == []
    cells = [headline.describe_difference(row)[0] for row in table.itertuples() if row.measure == "general_korean"]
    assert sorted(cells) == ["better", "worse", "worse"]
    spread = table[table.measure == "general_korean"].set_index(["model", "against"])["spread"]
    assert (spread["base-bi", "base"], spread["blossom-bi", "base-bi"]) == (1e-4, 2e-4)
    row = next(table.drop(columns="spread").itertuples())._replace(low=-1, high=-4e-4, decided=True)  # as in notebook 05
    assert headline.state_difference(row).endswith(" [-1.000, -0.0004]")
    short = headline.state_difference(SimpleNamespace(**row._asdict(), spread=9), short=True)
    assert short.startswith("Korean (general), +") and short.endswith("spread between seeds (9.000)")


def test_steps_for_given_text_and_for_own_answers_are_told_apart():
    rows = {"x": {"ko": {"nonword": 0.75, "nonword_low": 0.5, "nonword_high": 0.9}}, "y": {"en": {}}}
    run, steps = SimpleNamespace(metrics={"models": rows, "nonword_human": 0.28}), {"steps_per_1000_characters": 577.2}
    told = headline.state_speed_and_nonwords([run], {"x": steps | {"own_steps_per_1000_characters": 1416}, "y": steps})
    assert told == ("x 577, y 577; for 1,000 of its own answers: x 1,416", "x 75% [50%, 90%], human text 28%")
    assert headline.state_speed_and_nonwords([], {}) == ("not counted", "")


@pytest.mark.parametrize(("stage", "settings", "told"), CASES["other_settings"])
def test_recipes_measured_with_other_parameters_are_refused(tmp_path, stage, settings, told):
    recipes = "blossom-bi-koSFT", "blossom-bi-biSFT"
    folders = [made(tmp_path, r, stage, {}, [{"task": "x"}], **own) for r, own in zip(recipes, ({}, settings), strict=True)]
    runs = {(recipe, stage): read_run(folder) for recipe, folder in zip(recipes, folders, strict=True)}
    with pytest.raises(ValueError, match=f"^{told}. .*or leave one out of `recipes`") if told else nullcontext():
        agreement.check_measures(runs)
    with pytest.raises(ValueError, match="^base_model: 'tiny-byte-level' in .*/0._.*, here 'other': "):
        agreement.check_measures({(recipes[0], stage): runs[recipes[0], stage]}, "other")
    assert {*agreement.FREE[stage]} <= {field.name for field in fields(stages.STAGES[stage])}, "a name that is no parameter"


def test_recipes_trained_with_other_parameters_are_not_compared_and_the_report_says_so(tmp_path):
    scores, training = {"base-ko": (2.7, 32, 1.4), "blossom-ko": (2.4, 52, 1.4)}, "03_bilingual_pretraining"
    runs = {(recipe, STAGE): measured(tmp_path, recipe, *numbers) for recipe, numbers in scores.items()}
    told = "training_tokens: 4096 in base-ko/03_bilingual_pretraining, 512 in blossom-ko/03_bilingual_pretraining. "
    for tokens in (4096, 512):  # base-ko's file sets trainable and english_anchor, blossom-ko's does not
        for recipe in scores:
            made(tmp_path, recipe, training, {}, training_tokens=4096 if recipe == "base-ko" else tokens, evaluations=tokens)
        table, unlike = headline.compare_recipes(runs, 200)
        assert (len(table), len(unlike)) == ((3, 0) if tokens == 4096 else (0, 1)) and all(told in line for line in unlike)


def test_07_tells_of_a_control_and_its_compute_where_both_were_pretrained_also_as_parents(tmp_path):
    recipes = ["base", "base-bi-biSFT", "blossom-bi-biSFT"]
    for recipe, stage in params.report_runs(recipes):
        about = {"read": {}, "tokens": {"ko": 500, "en": 12 if stage == stages.TRAINED else len(recipe)}}
        made(tmp_path, recipe, stage, about) if stage != STAGE else measured(tmp_path, recipe, 2, 40, 1)
    read = runs.read_runs(str(tmp_path), "smoke", recipes)
    for count, told in (2, "no: 512 tokens each in 03, 516 against 513 in 04"), (0, "not counted"):
        found = run_cell("07_report", "twins =", runs=read, p=SimpleNamespace(bootstraps=200), spread={})
        assert (len(found["pair"]), found["sides"]) == (count, recipes[:0:-1] if count else [])
        assert agreement.describe_compute(read, *recipes[:0:-1]) == told
        read.pop(("base-bi", stages.TRAINED), None)


@pytest.mark.parametrize(("settings", "told"), CASES["own recipes"])
def test_a_recipe_with_a_base_or_texts_of_its_own_is_not_compared_and_the_report_says_so(tmp_path, settings, told):
    made_of = {"base": {}, "blossom-ko": settings}
    for recipe, own in made_of.items():
        items = [{"task": "korean", "item": 0, "nats": 1.0, "bytes": 9 + len(own), "model": recipe}]
        made(tmp_path, recipe, STAGE, {}, items, **own)
    runs = {(recipe, STAGE): read_run(tmp_path / "smoke" / recipe / STAGE) for recipe in made_of}
    table, unlike = headline.compare_recipes(runs, 200)
    assert (len(table), len(unlike)) == ((1, 0), (0, 1))[bool(told)] and all(told in line for line in unlike)


@pytest.mark.parametrize(("opponent", "verdict"), [("x", "not tested"), ("base", "supported")])
def test_a_claim_on_preference_over_the_base_is_not_tested_on_another_model(tmp_path, opponent, verdict):
    row = {"model_b": opponent, "language": "en", "rate": 0.25, "rate_low": 0.15, "rate_high": 0.35, "source": "people"}
    row |= {"win": 0.25, "verdicts": 8, "won_faulty": 1}
    folder = made(tmp_path, "blossom-bi-biSFT", stages.JUDGED, {"preference": [row]}, compare_with=opponent)
    checked = {c.says: c for c in claims.check_claims({("blossom-bi-biSFT", stages.JUDGED): read_run(folder)})}
    claim = checked["Bllossom's answers to English prompts lose against the base's"]
    assert claim.verdict == verdict and ("a fault in 1 of the 2 answers that won" in claim.shows) == (opponent == "base")


def test_the_benchmarks_of_a_reference_are_told_beside_a_constant_answer():
    scores = {"score": 0.5, "stderr": 0.02, "constant": 0.25, "majority_share": 0.2, "items": 9}
    names = read_papers()["bllossom"]["table6"]["tasks"]
    found = SimpleNamespace(metrics={"tasks": dict.fromkeys(names, scores)})
    told = tables.describe_benchmarks({("base", STAGE): found, ("other", STAGE): SimpleNamespace(metrics={"tasks": {}})})
    assert told == "1 of 1 averages lie clearly above one constant answer's 25.0 %: base 50.0 % [48.6, 51.4]"
    assert tables.describe_benchmarks({}) == ""
    found.metrics["table3"] = [{"source": "korean", "megabytes": 85, "epochs": 1}]
    assert tables._describe_text([SimpleNamespace(metrics=found.metrics | {"tokens": {}})])["Korean text"] == "85 MB"
    assert reference.read_reference(STAGE), "the reference in the repository has scores"


def test_one_vocabulary_merge_serves_every_recipe_that_asks_for_the_same(tmp_path):
    p = plan.Plan(str(tmp_path))
    ko, bi = (plan.RunName(str(tmp_path), "smoke", recipe, "02_vocab_merge") for recipe in ("blossom-ko", "blossom-bi"))
    assert (p.twin(ko), p.twin(bi)) == (bi, None)
    assert p.twin(ko._replace(stage="03_bilingual_pretraining")) is None, "other shares of Korean are another training"
    training, other = bi._replace(stage="03_bilingual_pretraining"), plan.Plan(str(tmp_path), {"added_pieces": 100})
    assert p.key(training) != other.key(training), "another vocabulary is another training"


def test_a_changed_file_of_a_run_is_noticed_but_not_what_the_run_itself_writes(tmp_path, monkeypatch):
    run, text = plan.RunName(str(tmp_path), "smoke", "base", "01_tokenization_analysis"), tmp_path / "ko.txt"
    for name in ("one", "two"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    text.symlink_to(tmp_path / "one")
    own = paths.unfinished_folder(run.folder).with_name(run.stage) / "made.txt"
    paths.write_text(own, "하나")

    p = plan.Plan(str(tmp_path), {"more_korean": [str(text), str(own)]})

    def make():
        started = Run(p.effective(run), run.stage, list_named_files(p.effective(run)))
        paths.write_text(own, str(time.time_ns()))
        return started.finish({})["inputs"]

    assert {"{outputs}/ko.txt", "data/text/smoke_ko.txt"} <= make().keys() and not p.is_changed(run)
    text.write_text("둘", encoding="utf-8")
    assert p.is_changed(run) and not [name for name in make() if name.endswith("made.txt")] and not p.is_changed(run)
    text.unlink()
    text.symlink_to(tmp_path / "two")
    assert p.is_changed(run) and make() and not p.is_changed(run)
    with pytest.raises(runs.MissingRun, match=f"01_tokenization_analysis of base is older than {text}"):
        text.write_text("셋", encoding="utf-8")
        runs.read_runs(str(tmp_path), "smoke", ["base"])
    monkeypatch.setattr(runs, "LARGE", 1)  # by names, sizes and times
    make()
    os.utime(text, (1, 1))
    assert p.is_changed(run)
    named = runs.hash_input(tmp_path)
    (tmp_path / ".DS_Store").touch()
    assert runs.hash_input(tmp_path) == named
    text.rename(text.with_name("more.txt"))
    assert runs.hash_input(tmp_path) != named


def test_a_run_is_older_than_its_parent_when_that_was_made_again_in_its_own_copy_even_while_it_ran(tmp_path):
    def make(root, stage, text, meanwhile=lambda: None):
        run = Run(params.effective_params(stage, "smoke", "blossom-bi", outputs=str(root)), stage)
        parent = paths.stage_folder(root, "smoke", "blossom-bi", "02_vocab_merge") / "model"
        run.add_inputs([parent] if stage.startswith("03") else [])
        meanwhile()
        (run.folder / "model").write_text(text)
        run.finish({}, outputs=["model"])

    def start(root):
        p = params.effective_params("04_korean_lima_sft", "smoke", "blossom-bi-biSFT", outputs=str(root))
        return runs.require_model(p, "04_korean_lima_sft")

    a, b = tmp_path / "a", tmp_path / "b"
    make(a, "02_vocab_merge", "1")
    make(a, "03_bilingual_pretraining", "1")
    shutil.copytree(a, b)
    make(b, "03_bilingual_pretraining", "1", meanwhile=lambda: make(b, "02_vocab_merge", "2"))
    assert start(a).is_relative_to(a)
    with pytest.raises(runs.MissingRun, match="03_bilingual_pretraining of .* is older than .*b/smoke/blossom-bi/02_"):
        start(b)


def test_a_run_with_other_parameters_that_a_link_leads_to_or_a_notebook_made_counts_as_old(tmp_path):
    ko, bi = (plan.RunName(str(tmp_path), "smoke", recipe, "02_vocab_merge") for recipe in ("blossom-ko", "blossom-bi"))
    p = plan.Plan(str(tmp_path)).effective(bi)
    Run(p, bi.stage, list_named_files(p)).finish({})
    for overrides, old in (({}, False), ({"added_pieces": 100}, True)):
        plan.link_run(bi.folder, ko.folder)
        assert plan.Plan(str(tmp_path), overrides).is_changed(ko) is old
    run = plan.RunName(str(tmp_path), "smoke", "base", "01_tokenization_analysis")
    for settings in ({}, {"analysed_lines": 50}):
        p = params.effective_params(run.stage, "smoke", "base", outputs=str(tmp_path), **settings)
        Run(p, run.stage, list_named_files(p)).finish({})
        assert plan.Plan(str(tmp_path / ".")).is_changed(run) is bool(settings)
    list_named_files(params.effective_params(run.stage, "smoke", "base", sentence="가" * 300))  # no file can have this name


def test_a_stage_whose_manifest_is_cut_counts_as_not_finished(tmp_path, capsys):
    folder = made(tmp_path, "base", STAGE, {})
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text()[:-9])
    plan.Plan(str(tmp_path)).set_damaged_aside()
    assert [f.name for f in folder.glob("manifest*")] == ["manifest.damaged.json"]
    assert f"{folder}/manifest.json: not valid JSON" in capsys.readouterr().err


def test_models_that_others_are_scored_beside_are_scored_before_them():
    needs = plan.Plan("outputs").needs(plan.RunName("outputs", "laptop", "blossom-bi-biSFT", STAGE))
    assert [(n.recipe, n.stage[:2]) for n in needs] == [("blossom-bi-biSFT", "04"), ("blossom-bi", "05"), ("base", "05")]


@pytest.mark.parametrize(("scale", "asked", "needed"), CASES["recipes"])
def test_a_report_needs_the_runs_of_its_scales_recipes_unless_others_are_asked_for(scale, asked, needed):
    found = plan.Plan("outputs", asked).needs(plan.RunName("outputs", scale, "report", "07_report"))
    assert {run.recipe for run in found} == {*needed}


def sweep_file(folder, **changes):
    folder.mkdir(exist_ok=True)
    file = folder / "lines.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in (CASES["sweep"] | changes).items() if v is not None}), encoding="utf-8")
    return file


def test_a_grid_becomes_points_and_arms(tmp_path):
    sweep = plan.read_sweep(sweep_file(tmp_path))
    assert list(sweep.points)[:2] == ["analysed_lines=50,seed=0", "analysed_lines=50,seed=1"]
    assert sweep.arms == ["base, analysed_lines=50", "base, analysed_lines=100"]
    assert list(sweep.compare.values()) == [["base, analysed_lines=50", "base, analysed_lines=100"]]
    whole = plan.Plan("outputs")
    runs = whole.sweep_runs("crossover", "smoke").values()
    assert len({run.folder for run in runs}) == len(runs) == 30
    arms = [[f"{recipe}, training_tokens={n}" for recipe in ("base-bi", "blossom-bi")] for n in (6250, 100000)]
    assert [list(whole.sweeps["crossover"].compare.values())[n] for n in (0, 4)] == arms, "the arms of a point are compared"


@pytest.mark.parametrize(("changes", "message"), CASES["wrong_sweeps"])
def test_a_wrong_sweep_is_refused_with_its_file(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        plan.read_sweep(sweep_file(tmp_path, **changes))
    assert "lines.yaml" in str(caught.value)


def test_intervals_are_students_and_differences_are_paired():
    assert sweeps.mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, -0.4841, 4.4841), abs=1e-3)
    assert np.isnan(sweeps.mean_interval([1.0])[1])
    rows = [("p", arm, f"seed={s}", "m", value + s) for s in range(3) for arm, value in (("a", 0.0), ("b", 0.5 + s / 100))]
    table = pd.DataFrame(rows, columns=["point", "arm", "repeat", "measure", "value"])
    row = sweeps.compare_arms(table, {"b over a": ["a", "b"]}).iloc[0]
    assert row.difference == pytest.approx(0.51) and row.verdict == "differs", "seeds move both arms alike: they cancel"
    assert sweeps.summarise_arms(table).iloc[0].low < 0 < sweeps.summarise_arms(table).iloc[0].high
    table.value = (table.arm == "b") * 1.0
    assert sweeps.compare_arms(table, {"b over a": ["a", "b"]}).verdict[0] == "equal runs", "which repeat nothing"


def test_a_finished_sweep_is_compared(tmp_path):
    sweep_file(tmp_path / "definitions")
    p = plan.Plan(str(tmp_path / "o"), definitions=str(tmp_path / "definitions"))
    for n, run in enumerate(p.sweep_runs("lines", "smoke").values()):
        settings = asdict(p.effective(run))
        own = {k: settings[k] for k in ("seed", "analysed_lines")}
        made(run.root, run.recipe, run.stage, {"fertility": {"korean": [3.0, 3.1, 2.0, 2.1][n]}}, **own)
    asked = ["--outputs", p.outputs, "--definitions", p.definitions]
    assert run_report_command(["sweep", "lines", "--scale", "smoke", *asked]) == 0
    folder = sweeps.comparison_folder(p.outputs, "lines", "smoke")
    found = paths.read_json(folder / "comparison.json")
    assert found["differences"][0]["difference"] == pytest.approx(-1.0) and [a["runs"] for a in found["arms"]] == [2, 2]
    assert (folder / "comparison.png").stat().st_size > 5000 and "data:image/png" in (folder / "comparison.html").read_text()
    source, about = sweeps.read_comparison(p.outputs, "lines", "smoke")
    assert source == "this run" and about["measured"][0]["recipe"] == "base" and sweeps.draw_sweep(about)[1] == {}
    plt.close("all")
    made(run.root, run.recipe, run.stage, {"average": 0.5}, **own)
    assert sweeps.read_comparison(p.outputs, "lines", "smoke")[0].startswith("earlier runs, which have changed since or")
    with pytest.raises(ValueError, match="metrics.json: no number 'fertility.korean'"):
        sweeps.measure_sweep(p, "lines", "smoke")


def crossing_sweep(noise=0.005):
    """The comparison.json of a made sweep: the expanded arm wins from 71,127 tokens on in the corpus, else never."""
    rng, rows = np.random.default_rng(0), []
    for seed, n in itertools.product(range(3), (12_500, 25_000, 50_000, 100_000, 200_000)):
        general = 2.4 + 60 * n**-0.42
        found = {"base-bi": {"corpus": 1.2 + 60 * n**-0.42, "general": general, "tokens": n, "bytes": 1.5 * n}}
        found["blossom-bi"] = {"corpus": 1 + 200 * n**-0.5, "general": general + 0.5, "tokens": n, "bytes": 4 * n}
        for arm, values in found.items():
            about = {"point": f"seed={seed},training_tokens={n}", "recipe": arm, "arm": f"{arm}, {n}", "repeat": str(seed)}
            values |= {k: values[k] + rng.normal(0, noise) for k in ("corpus", "general")}
            rows += [about | {"measure": k, "value": v} for k, v in values.items()]
    about = {"measured": rows, "recipes": ["base-bi", "blossom-bi"], "curves": ["corpus", "general"], "scale": "smoke"}
    return about | {"over": {"equal compute": "tokens", "equal text": "bytes"}}


def test_fitted_curves_find_a_known_crossing_and_claim_none_beyond_the_data():
    compared, exact = (crossover.compare_curves(crossing_sweep(noise)) for noise in (0.005, 0.001))
    for found, widest, covers in ((compared[0], 15_000, True), (exact[0], 3_000, False)):
        wins, crossings = crossover.find_crossing(found.common, found.difference)
        low, high = np.quantile(crossings, (0.025, 0.975))
        assert wins and low < crossings[0] < high < low + widest and crossings[0] == pytest.approx(71_127, rel=0.05)
        assert (low < 71_127 < high) == covers, "a curve that misses the means by more than their noise moves a crossing"
        assert 0.005 < crossover.measure_misfit(found) < 0.02
    assert [c.common[-1] for c in compared[:2]] == pytest.approx([200_000, 300_000]), "only amounts that both have"
    words = crossover.tabulate_crossings(compared).set_index(["measure", "over"])["result"]
    assert words["corpus", "equal compute"].startswith("blossom-bi is better from 6")
    assert words["general", "equal text"].endswith("is worse at every amount, 50,000 to 300,000 bytes (in 100 % of draws)")
    unclear = replace(compared[0], difference=np.array([[-1.0], [1.0]]))
    assert [crossover.judge_end(one) for one in (compared[0], compared[2], unclear)] == ["better", "worse", "undecided"]
    swapped = crossover.compare_curves(crossing_sweep() | {"recipes": ["blossom-bi", "base-bi"]})
    told = crossover.tabulate_crossings(swapped)["result"]
    assert told[0].startswith("base-bi is better up to 6") and told[2].startswith("base-bi is better at every amount, ")
    plt.close(crossover.plot_curves(compared))


def test_curves_are_quadratic_in_log_amount_and_have_the_intervals_of_the_paired_differences():
    about, read = crossing_sweep(), np.array([12_500, 25_000, 50_000, 100_000, 200_000])
    for row in about["measured"]:  # a measure may fall, then rise
        row["value"] += (row["measure"] == "corpus") * np.log(int(row["arm"].split(", ")[-1]) / 50_000) ** 2
    compared, table = crossover.compare_curves(about)[0], pd.DataFrame(about["measured"])
    arms = [[f"{recipe}, {n}" for recipe in about["recipes"]] for n in read]
    means = sweeps.summarise_arms(table[table.measure == "corpus"]).set_index("arm")["mean"]
    assert [*zip(*(m[0] for m in compared.means), strict=True)] == [pytest.approx(tuple(means[pair])) for pair in arms]
    fitted = np.polynomial.Polynomial.fit(np.log(read), compared.means[1][0], 2)
    shown = crossover.fit_curve(compared.sizes[1], compared.means[1], np.array([12_500, 70_000]))[0]
    assert shown == pytest.approx(fitted(np.log([12_500, 70_000])), abs=1e-9)
    told = sweeps.compare_arms(table, dict(zip("abcde", arms, strict=True))).set_index("measure").loc["corpus"]
    drawn = np.quantile(compared.means[1] - compared.means[0], (0.025, 0.975), axis=0).T
    assert drawn == pytest.approx(told[["low", "high"]].to_numpy(), rel=0.1, abs=0.002), "Student's t of three seeds"


@pytest.mark.parametrize("what", ["two amounts", "an amount of 0", "none in both"])
def test_few_amounts_make_no_curve_even_with_many_seeds(what):
    about = crossing_sweep()
    for row in [row for row in about["measured"] if row["measure"] in about["over"].values()]:
        changed = {"two amounts": 1e4 * (1 + (row["value"] > 1e5)) + int(row["point"][5])}  # nearly alike for all seeds
        changed["an amount of 0"] = row["value"] * ("=12500" not in row["point"])
        changed["none in both"] = row["value"] * (1e6 if row["recipe"] == "base-bi" else 1)
        row["value"] = changed[what]
    assert sweeps.draw_sweep(about)[1] == {}
    plt.close("all")


def test_one_run_of_each_amount_makes_no_curve_and_amounts_that_only_one_recipe_has_no_comparison():
    rows, own = (about := crossing_sweep())["measured"], ("blossom-bi", "bytes")
    few = [row for row in rows if "seed=0" in row["point"]]
    figure, tables = sweeps.draw_sweep(about | {"measured": few, "texts": "8 KB"})
    assert tables == {} and figure.texts[-1].get_text() == "bits/byte of 8 KB"
    far = [r | {"value": 1e6 * r["value"]} if (r["recipe"], r["measure"]) == own else r for r in rows]
    assert {found.over for found in crossover.compare_curves(about | {"measured": far})} == {"equal compute"}
    plt.close("all")


def test_what_expansion_saves_is_what_the_other_recipe_needs_to_be_as_good():
    table = crossover.tabulate_needs(crossover.compare_curves(crossing_sweep(noise=1e-6)))
    needs = table.set_index([*table][:2])["base-bi needs (tokens)"].str.replace(",| .*", "", regex=True)
    read = np.array([12_500, 25_000, 50_000, 100_000, 200_000])
    laws = np.array([1.2 + 60 * read**-0.42, 1 + 200 * read**-0.5])
    first, second = (np.polynomial.Polynomial.fit(np.log(read), law, 2) for law in laws)
    roots = [(first - second(np.log(n))).roots().real for n in read[1:4]]  # the falling side's is the amount
    exact = [min(np.exp(r), key=lambda amount: abs(np.log(amount) - np.log(50_000))) for r in roots]
    assert [float(needs["corpus", n]) for n in read[1:4]] == pytest.approx(exact, rel=0.01)
    assert needs["corpus", 200_000] == ">200000" and needs["general", 12_500] == "<12500"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    for root in ("old", "new"):
        made(tmp_path / root, "base", "01_tokenization_analysis", {"tokens": 100})
        made(tmp_path / root, "base", STAGE, {"tasks": {"klue_nli": {"score": 0.50, "seconds": 1}}, "average": 0.5})
        made(tmp_path / root, "ablation", "07_report", {"stages": 2})
    comparison = tmp_path / "old/sweeps/crossover/comparison-smoke"
    paths.write_json(comparison / "comparison.json", crossing_sweep())
    (figure := plt.figure()).savefig(comparison / "comparison.png")
    plt.close(figure)
    return reference.keep_reference(tmp_path / "old", "smoke", ["base"]), tmp_path / "new"


def test_a_reference_says_where_it_comes_from_and_has_figures(kept):
    folder, _ = kept
    about = paths.read_json(folder / "about.json")
    assert set(about) == {"scale", "commits", "date", "machine", "versions", "runs"} and "cores" in about["machine"]
    assert paths.read_json(folder / "base" / STAGE / "metrics.json")["average"] == 0.5
    assert (folder / "base" / STAGE / "figures" / "a.png").stat().st_size < 20_000


def test_a_sweep_is_the_runs_own_or_else_the_references(kept, tmp_path):
    found = [sweeps.read_comparison(tmp_path / root, "crossover", "smoke") for root in ("old", "new")]
    told = [source.split(", which")[0] for source, _ in found]
    assert told == ["earlier runs", f"{reference.EARLIER}, scale smoke"] and found[0][1] == found[1][1]
    assert sweeps.read_comparison(tmp_path / "new", "crossover", "laptop")[0] == told[1]
    assert sweeps.read_comparison(tmp_path / "new", "other", "smoke") is None
    one, both = sweeps.measure_spread(found[0][1], "smoke")["general"]
    assert 0.004 < one < both < 0.009 and not sweeps.measure_spread(found[0][1], "x")
    _, parts = sweeps.draw_sweep(found[1][1])
    plt.close("all")
    assert list(parts) == ["crossings", "needs"] and len(parts["crossings"]) == 4


@pytest.mark.parametrize(("tokens", "average"), [(101, 0.9), (99, 0.1)])
def test_a_run_out_of_tolerance_fails_and_its_metrics_are_named(kept, capsys, tokens, average):
    words = ["check", "--scale", "smoke", "--outputs", str(kept[1])]
    assert run_report_command(words) == 0 and "missing" not in capsys.readouterr().out
    shutil.move(kept[1] / "smoke/base/01_tokenization_analysis", kept[1] / "01")
    assert run_report_command(words) == 1 and "- base/01_tokenization_analysis" in capsys.readouterr().out
    made(kept[1], "base", "01_tokenization_analysis", {"tokens": tokens})
    made(kept[1], "base", STAGE, {"tasks": {"klue_nli": {"score": 0.52, "seconds": 99}}, "average": average})
    capsys.readouterr()
    assert run_report_command(words) == 1
    printed = capsys.readouterr().out
    assert "tokens" in printed and "average" in printed and "seconds" not in printed and "klue_nli" not in printed
    made(kept[1], "base", STAGE, {"tasks": {}, "average": 0.5})
    table, _ = reference.check_reference(kept[1], "smoke")
    assert table[~table.within].metric.tolist() == ["tokens", "tasks.klue_nli.score"], "a metric that is gone is out"


def test_a_reference_too_large_for_git_is_refused(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "LIMIT", 1000)
    before = (kept[0] / "about.json").read_text()
    with pytest.raises(ValueError, match="expected at most 1,000"):
        reference.keep_reference(tmp_path / "old", "smoke", ["base"])
    assert (kept[0] / "about.json").read_text() == before
