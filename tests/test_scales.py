"""The papers' scales: estimates hold for the models as they are built, and the very settings train a tiny one."""

import re
import shlex

import pytest
import torch
import yaml

from blossom.assets.registry import fetch_asset
from blossom.batch import estimate, resources
from blossom.batch.plan import Plan, RunName
from blossom.common import params, paths, stages
from blossom.instructions.dataset import encode_examples, hold_out_examples, load_examples
from blossom.models import adapters, loading
from blossom.text.corpus import read_corpus
from blossom.training import checkpoints, loop, pretraining
from blossom.training.__main__ import read_training_params
from blossom.training.settings import TrainingSettings
from blossom.vocabulary.embeddings import random_rows
from tests.batch import run_snakemake

PRETRAINING, TUNING = "03_bilingual_pretraining", "04_korean_lima_sft"
STAGE = {"blossom-bi": PRETRAINING, "cross-lingual-direct": TUNING}


@pytest.mark.parametrize(("scale", "billions"), [("llama2-7b", 6.738), ("llama2-13b", 13.016)])
def test_the_published_sizes_make_the_published_models(scale, billions):
    config, origin = resources.read_config(params.effective_params(PRETRAINING, scale, "base-ko").base_model)
    assert estimate.measure_size(config).total / 1e9 == pytest.approx(billions, abs=0.001)
    assert "the hub was not asked" in origin


@pytest.mark.parametrize("base", ["tiny-byte-level", "tiny-sentencepiece"])  # tied, untied
def test_a_model_of_shapes_has_as_many_parameters_as_a_loaded_one(base):
    model, size = loading.load_model(base)[0], estimate.measure_size(resources.read_config(str(fetch_asset(base)))[0])
    assert size.total == sum(q.numel() for q in model.parameters()) and size.trained == 0
    assert size.layers == sum(q.numel() for n, q in model.named_parameters() if ".layers." in n)
    assert size.tables == sum(q.numel() for n, q in model.named_parameters() if "embed_tokens" in n or "lm_head" in n)


@pytest.mark.parametrize("again", [False, True])
def test_operations_are_six_a_weight_and_one_forward_pass_more_with_checkpointing(again):
    p = params.effective_params(TUNING, "llama2-7b", "cross-lingual-direct", activation_checkpointing=again)
    size = estimate.measure_size(resources.read_config(p.base_model)[0], p)
    head = size.config.vocab_size * size.config.hidden_size
    assert estimate.count_operations(size, p, 0) == 6 * (size.layers + head) + again * 2 * size.layers


def test_a_full_fine_tune_of_13b_does_not_fit_on_bllossom_s_card():
    full = resources.ScalePlan(Plan("outputs", {"trainable": "full"}), "llama2-13b")
    full.ask(RunName("outputs", "llama2-13b", "blossom-bi", PRETRAINING))
    assert re.search(r"Over 48 GB: blossom-bi/03.*Lower batch_size, block_size.*lora\+new-rows", str(full))


def test_13b_with_frozen_layers_in_4_bits_trains_on_24_gb_as_the_documents_say():
    p = params.effective_params(PRETRAINING, "llama2-13b", "blossom-bi", quantize="nf4")
    run = resources.plan_run(PRETRAINING, p, resources.read_assumptions("llama2-13b"))
    told = [" ".join((paths.ROOT / name).read_text(encoding="utf-8").split()) for name in ("README.md", "docs/cluster.md")]
    assert all(f"trains in {run.card / resources.GB:.0f} GB" in text for text in told) and run.card < 20e9
    assert f"{run.memory / resources.GB:.0f} GB of RAM" in told[1]


def test_sharded_weights_take_the_time_of_their_exchange_where_that_is_longer():
    p, hours = params.effective_params(TUNING, "llama2-7b", "cross-lingual-direct"), {}
    for link in (10.0, 20.0, 1000.0):
        run = resources.plan_run(TUNING, p, resources.read_assumptions("llama2-7b", link_gigabytes=link))
        hours[link], memory = run.hours, run.memory
    assert hours[10.0] == 2 * hours[20.0] and 2 < hours[1000.0] < 4 < hours[20.0]
    assert memory > 8 * 13e9  # eight processes load the model before they share it


def test_one_epoch_is_as_long_as_the_scarcer_language():
    p, assumed = params.effective_params(PRETRAINING, "llama2-13b", "blossom-bi"), resources.read_assumptions("llama2-13b")
    assert resources.count_text_tokens(p, assumed, expanded=True) == pytest.approx(23.17e9 / 4.3 / 0.7)
    mono = params.effective_params(PRETRAINING, "llama2-13b", "base-ko")
    assert resources.count_text_tokens(mono, assumed, expanded=False) == pytest.approx(23.17e9 / 1.6)
    short = params.effective_params(PRETRAINING, "llama2-13b", "base-ko", training_tokens=5)
    assert resources.count_text_tokens(short, assumed, True) == 5


@pytest.mark.parametrize("scale", ["laptop-hub", "qwen2.5-0.5b", "gpu-24gb", "llama2-7b", "llama2-13b"])
def test_the_readme_s_table_of_scales_is_the_estimator_s(scale, tmp_path):
    found, gb = resources.ScalePlan(Plan(str(tmp_path)), scale), resources.GB
    found.assumed = a = params.build_params(stages.PlanAssumptions, params.read_params(params.scale_file(scale)))
    for run in found.plan.needs(RunName(str(tmp_path), scale, "report", "07_report")):
        found.ask(run)
    runs = found.runs.values()
    card, host = max(r.card for r in runs) / gb, max(r.memory for r in runs) / gb
    disk = sum(r.disk for r in runs) / gb + resources.DOWNLOADED * sum(a.text_gigabytes.values())
    name = f"{a.devices} x {a.device_name}, {a.device_memory:g} GB" if a.device_name else "a CPU core"
    row = f"| {name} | {sum(r.hours or 0 for r in runs):,.1f} h | {card:.0f} GB | {host:.0f} GB | {disk:.0f} GB |"
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in readme if line.startswith(f"| `{scale}` |"))
    assert line.endswith(row) and card < a.device_memory


def test_a_scale_without_a_card_has_no_plan_and_asks_for_what_such_runs_took(tmp_path):
    plan = resources.ScalePlan(Plan(str(tmp_path)), "laptop")
    run = RunName(str(tmp_path), "laptop", "base", "01_tokenization_analysis")
    assert plan.ask(run)["mem_mb"] == 4000
    paths.write_json(run.folder / "manifest.json", {"peak_bytes": 2_000_000_000})
    assert plan.ask(run)["mem_mb"] == 2200 and str(plan) == ""


def test_the_launch_line_names_the_configuration_for_what_is_trained():
    def line(stage, scale, recipe, **more):
        p = params.effective_params(STAGE[recipe], scale, recipe, outputs="my 'o'", language="no", row_epsilon=5e-5)
        words = resources.launch_command(stage, p, resources.read_assumptions(scale, **more))
        given = [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
        assert not words or read_training_params([], given, type(p)) == p  # all that the notebook has
        return shlex.join(words)

    x = line(TUNING, "llama2-7b", "cross-lingual-direct")
    start = "accelerate launch --config_file params/accelerate/fsdp.yaml --num_processes 8 -m blossom.training "
    assert x.startswith(f"{start}{TUNING} --set=scale=llama2-7b ")
    assert line(PRETRAINING, "llama2-13b", "blossom-bi") == ""
    several = line(PRETRAINING, "llama2-13b", "blossom-bi", devices=2)
    assert f"accelerate/ddp.yaml --num_processes 2 -m blossom.training {PRETRAINING} --set" in several
    assert line("05_benchmark_eval", "llama2-7b", "blossom-bi") == ""


LACKING = [({"devices": 2}, PRETRAINING, "device_name: expected a value for the plan, found ''")]
LACKING += [({"device_name": "A100"}, PRETRAINING, "new_rows: .* found 0: .*gpu-24gb")]
LACKING += [({"device_name": "A100", "new_rows": 9}, PRETRAINING, "device_tflops: .* found 0.0")]
LACKING += [({"device_name": "A100", "new_rows": 9}, TUNING, "sft_counts: expected a number of ko for the plan, found {}")]


@pytest.mark.parametrize(("given", "stage", "told"), LACKING)
def test_a_plan_names_what_a_scale_does_not_say_of_its_cards_and_texts(given, stage, told):
    run = RunName("outputs", "laptop", "blossom-bi" if stage == PRETRAINING else "blossom-bi-biSFT", stage)
    with pytest.raises(params.ParameterError, match=told):
        resources.ScalePlan(Plan("outputs", given), "laptop").ask(run)


def test_the_slurm_profile_asks_for_what_is_planned_and_for_the_limit_of_the_partition(tmp_path):
    shipped = yaml.safe_load((paths.ROOT / "params/profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    assert shipped["executor"] == "slurm" and shipped["slurm-requeue"] is True and shipped["retries"] > 0
    own = {k: v for k, v in shipped.items() if k != "executor" and not k.startswith("slurm-")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    outputs = tmp_path / "o"
    done = run_snakemake(outputs, "-n", "-c16", f"--profile={tmp_path}", f"{outputs}/llama2-13b/report.html")
    jobs, plan = done.stdout.split("Plan of llama2-13b\n")
    for row in (f"blossom-bi +{PRETRAINING}", f"blossom-bi-biSFT +{TUNING}"):
        assert re.search(rf"^{row} +[\d,]+\.\d +\d x \d+ GB +\d+ GB +\d+ GB$", plan, re.M), plan
    assert len(re.findall(r"^\S+ +0\d_\w+ .*GB$", plan, re.M)) == len(re.findall("^rule (stage|training):", jobs, re.M))
    limit = shipped["set-resources"]["training"]["runtime"]
    trained = [block for block in jobs.split("\nrule ") if block.startswith("training:")]
    assert len(trained) == 2 and all(f"runtime={limit}," in t and "gpu=1" in t and "threads: 16" in t for t in trained)
    assert all("mem_mb=7" in t for t in trained) and "slurm_partition=" in jobs


def tiny(scale, recipe, tmp_path, **more):
    texts = {"korean_texts": ["smoke-ko"], "english_texts": ["smoke-en"], "heldout_lines": 20}
    more |= texts | {"base_model": "tiny-sentencepiece", "outputs": str(tmp_path)}
    p = params.effective_params(STAGE[recipe], scale, recipe, **more)
    model, tokenizer = loading.load_model("tiny-sentencepiece")
    tokenizer.add_tokens([f"새{n}" for n in range(8)])
    rows = [random_rows(t.weight.detach(), 8, 0) for t in (model.get_input_embeddings(), model.get_output_embeddings())]
    loading.resize_model(model, 500, *rows)
    model.config.max_position_embeddings = 4096  # as Llama-2's
    loading.save_model(model, tokenizer, tmp_path / "start")
    return p, tmp_path / "start"


def test_the_13b_settings_train_a_tiny_llama(tmp_path):
    p, start = tiny("llama2-13b", "blossom-bi", tmp_path, block_size=256, training_tokens=2 * 8 * 256)
    model, tokenizer = pretraining.load_adapted(p, start)
    before = {name: w.detach().clone() for name, w in model.named_parameters()}
    blocks = pretraining.mix_corpus(p, read_corpus(p), tokenizer)
    result = loop.train_model(model, blocks, TrainingSettings.of(p), tmp_path / "run", report=lambda line: None)
    assert result["steps"] == 2 and result["tokens"] == pytest.approx(2 * 8 * 256, rel=0.1)
    kept = {name: w for name, w in model.named_parameters() if ".original_module." not in name}  # those are let go
    moved = {name for name, w in kept.items() if not torch.equal(w.bfloat16(), before[name].bfloat16())}  # the precision
    assert moved and all(re.search("lora_|modules_to_save", name) for name in moved)
    assert any("embed_tokens" in name for name in moved) and any("lm_head" in name for name in moved)
    kept = checkpoints.keep_model(model, tokenizer, start, tmp_path / "run", ["Open the door."])
    assert kept["saved"] == pytest.approx(kept["trained"], rel=2e-3)


def test_the_7b_settings_of_paper_x_train_a_tiny_llama(tmp_path):
    local = {"korean_instructions": ["authored-ko"], "english_instructions": ["authored-en"]}
    local |= {"translations": [str(tmp_path / "t.tsv")]}
    (tmp_path / "t.tsv").write_text("".join(f"Sentence {n}.\t{n}번째 문장.\n" for n in range(60)), encoding="utf-8")
    p, start = tiny("llama2-7b", "cross-lingual-direct", tmp_path, **local)
    model, tokenizer = loading.load_model(start)
    model = adapters.adapt_model(model, p.trainable)
    chosen, _ = hold_out_examples(load_examples(p), p.heldout_examples)
    rows = encode_examples(chosen, p.template, tokenizer)
    rows = [row for row in rows if len(row["input_ids"]) <= 256][:16]  # short ones: seconds
    result = loop.train_model(model, rows, TrainingSettings.of(p, "sft_"), tmp_path / "run", report=lambda line: None)
    assert result["steps"] == 3 and result["loss"][-1]["loss"] > 0  # on 8 cards the paper's 128 rows a step
    assert {e.task for e in chosen} == {"ko", "en", "translation"}
