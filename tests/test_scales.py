"""The papers' scales: the forecast holds for the models as they are really built; the very settings train a tiny one."""

import os
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec

import pytest
import torch
import yaml

from blossom.assets.registry import fetch_asset
from blossom.batch import forecast
from blossom.common import params, paths
from blossom.instructions.dataset import encode_examples, hold_out_examples, load_examples
from blossom.models.adapters import adapt_model, trainable_share
from blossom.models.loading import load_model, resize_model, save_model
from blossom.text.corpus import read_corpus
from blossom.training.checkpoints import keep_model
from blossom.training.estimate import estimate
from blossom.training.learner import Learner
from blossom.training.loop import train_model
from blossom.training.pretraining import load_adapted, mix_corpus
from blossom.training.settings import TrainingSettings
from blossom.vocabulary.embeddings import random_rows

SIZES = {"llama2-7b": forecast.LLAMA2_7B, "llama2-13b": forecast.LLAMA2_13B}
RUNS = [("llama2-13b", "blossom-bi"), ("llama2-7b", "cross-lingual-direct")]
STAGE = {"blossom-bi": "03_bilingual_pretraining", "cross-lingual-direct": "04_korean_lima_sft"}


def built(scale, rows, layers=None, device="meta", dtype=None):
    """The model that `scale` names, with expanded tables, on the meta device: real modules, no weights."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    sizes = SIZES[scale] | {"vocab_size": 32000 + rows, "num_hidden_layers": layers or SIZES[scale]["num_hidden_layers"]}
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**sizes, tie_word_embeddings=False), dtype=dtype)
    model.config.first_new_row = 32000
    return model


@cache
def adapted(scale, recipe):
    """(parameters, what is assumed, the built model with what learns)"""
    p, assumed = params.effective_params(STAGE[recipe], scale, recipe), forecast.assumptions(scale)
    model = built(scale, assumed.new_rows)
    return p, assumed, adapt_model(model, p.trainable, p.lora_rank, p.lora_alpha, p.lora_targets)


def test_llama_2_7b_is_what_transformers_takes_by_default():
    from transformers import LlamaConfig

    default = LlamaConfig()
    assert {name: getattr(default, name) for name in forecast.LLAMA2_7B} == forecast.LLAMA2_7B
    assert default.vocab_size == 32000 and default.num_key_value_heads == 32


@pytest.mark.parametrize(("scale", "billions"), [("llama2-7b", 6.738), ("llama2-13b", 13.016)])
def test_the_published_sizes_make_the_published_models(scale, billions):
    model = built(scale, 0)
    sizes = forecast.config(params.read_params(params.scale_file(scale))["base_model"])
    assert sum(w.numel() for w in model.parameters()) == forecast.parameters(sizes)["all"]
    assert forecast.parameters(sizes)["all"] / 1e9 == pytest.approx(billions, abs=0.001)


@pytest.mark.parametrize(("scale", "recipe"), RUNS)
def test_as_many_numbers_learn_in_the_built_model_as_are_forecast(scale, recipe):
    p, assumed, model = adapted(scale, recipe)
    share = trainable_share(model)
    sizes = forecast.config(p.base_model)
    every = forecast.parameters(sizes, assumed.new_rows)
    assert share["trained"] == forecast.trainable(p, sizes, assumed.new_rows)
    tables = every["tables"] if p.trainable == "full" else 0
    adapters = 0 if tables else share["trained"] - every["tables"]
    assert share["all"] == every["all"] + adapters


@pytest.mark.parametrize(("scale", "recipe"), RUNS)
def test_the_forecast_memory_is_that_of_the_built_model(scale, recipe):
    p, assumed, model = adapted(scale, recipe)
    weights = sum(w.numel() * (16 if w.requires_grad else 2) for w in model.parameters())  # Learner's precisions, and Adam's
    sizes = forecast.config(p.base_model)
    still = forecast.training_bytes(p, sizes, assumed.new_rows, 0) - forecast.CARD_RESERVE
    assert still == pytest.approx(weights, rel=1e-3)


def test_no_ordinary_rank_gives_the_papers_share():
    p, assumed, model = adapted("llama2-13b", "blossom-bi")
    sizes, built_share = forecast.config(p.base_model), trainable_share(model)["share"]
    every, tables = (forecast.parameters(sizes, assumed.new_rows)[k] for k in ("all", "tables"))
    each = (forecast.trainable(p, sizes, assumed.new_rows) - tables) / p.lora_rank  # of one rank
    shares = {rank: (tables + rank * each) / (every + rank * each) for rank in (8, 16, 32, 64, 128, 256, 512)}
    assert shares[64] == pytest.approx(built_share)
    assert {r: round(100 * shares[r], 2) for r in (8, 64, 256)} == {8: 3.16, 64: 3.67, 256: 5.36}
    assert min(abs(share - 0.05977) for share in shares.values()) > 0.005


def test_bllossom_fits_on_its_card_and_a_full_fine_tune_does_not():
    p, assumed, _ = adapted("llama2-13b", "blossom-bi")
    told = forecast.forecast("03_bilingual_pretraining", p, assumed)
    assert 30 < told.card / forecast.GB < assumed.device_memory
    full = params.effective_params("03_bilingual_pretraining", "llama2-13b", "blossom-bi", trainable="full")
    told = {("blossom-bi", "03_bilingual_pretraining"): forecast.forecast("03_bilingual_pretraining", full, assumed)}
    assert re.search(
        r"Over 48 GB: blossom-bi/03.*Lower batch_size, block_size.*lora\+new-rows", forecast.table(told, assumed)
    )


def test_the_check_before_a_run_passes_on_the_papers_card_and_names_parameters_on_a_smaller_one(tmp_path, monkeypatch):
    """What a node with a card says; the folder has the 13B configuration and a file as long as its weights, but empty."""
    estimating = sys.modules["blossom.training.estimate"]
    p, assumed, model = adapted("llama2-13b", "blossom-bi")
    model.get_base_model().config.save_pretrained(tmp_path)
    sizes = forecast.config(p.base_model)
    with open(tmp_path / "model.safetensors", "wb") as weights:
        weights.truncate(2 * forecast.parameters(sizes, assumed.new_rows)["all"])
    monkeypatch.setattr(estimating, "pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(estimating, "free_bytes", lambda: 47.5e9)
    told = estimate(p, tmp_path, p.batch_size, p.block_size, timed=False).check()
    expected = forecast.forecast("03_bilingual_pretraining", p, assumed).card
    assert told.memory == pytest.approx(expected, rel=0.1)
    monkeypatch.setattr(estimating, "free_bytes", lambda: 24e9)
    with pytest.raises(
        MemoryError, match=r"free: 24.0 GB.*lower batch_size, block_size, lora_rank, take `trainable: lora\+new-rows`"
    ):
        estimate(p, tmp_path, p.batch_size, p.block_size, timed=False).check()


@pytest.mark.parametrize(
    ("scale", "recipe", "prefix", "total"),
    [("llama2-13b", "blossom-bi", "", 8), ("llama2-7b", "cross-lingual-direct", "sft_", 128)],
)
def test_the_papers_batches_come_out_of_batch_accumulation_and_cards(scale, recipe, prefix, total):
    p, devices = params.effective_params(STAGE[recipe], scale, recipe), forecast.assumptions(scale).devices
    assert getattr(p, f"{prefix}batch_size") * getattr(p, f"{prefix}accumulation") * devices == total


def test_paper_x_trains_with_its_table_2():
    p = params.effective_params("04_korean_lima_sft", "llama2-7b", "cross-lingual-direct")
    settings = TrainingSettings.of(p, "sft_")
    assert (p.epochs, settings.learning_rate, settings.warmup, p.trainable, p.template) == (
        3.0,
        2e-5,
        0.05,
        "full",
        "newline",
    )


def test_one_epoch_is_as_long_as_the_scarcer_language():
    p, assumed, _ = adapted("llama2-13b", "blossom-bi")
    tokens = forecast.text_tokens(p, assumed, expanded=True)
    assert tokens == pytest.approx(23.17e9 / 4.3 / 0.7)
    mono = params.effective_params("03_bilingual_pretraining", "llama2-13b", "base-ko")
    assert forecast.text_tokens(mono, assumed, expanded=False) == pytest.approx(23.17e9 / 1.6)
    assert forecast.text_tokens(params.build_params(type(p), {"training_tokens": 5}), assumed, True) == 5


def test_operations_are_six_a_weight_when_all_learn_and_one_forward_more_with_checkpointing():
    p = params.effective_params("04_korean_lima_sft", "llama2-7b", "cross-lingual-direct", activation_checkpointing=False)
    sizes = forecast.config(p.base_model)
    weights = forecast.parameters(sizes)["layers"] + sizes.vocab_size * sizes.hidden_size
    plain = forecast.operations(p, sizes, 0, 0)
    assert plain == 6 * weights
    again = params.effective_params("04_korean_lima_sft", "llama2-7b", "cross-lingual-direct", activation_checkpointing=True)
    assert forecast.operations(again, sizes, 0, 0) - plain == 2 * forecast.parameters(sizes)["layers"]


def test_a_base_whose_sizes_are_not_known_is_named():
    with pytest.raises(ValueError, match="base_model: the sizes of some/model are not known here"):
        forecast.config("some/model")


def test_the_sizes_of_a_folder_are_its_own():
    folder = fetch_asset("tiny-sentencepiece")
    sizes = forecast.config(str(folder))
    model, _ = load_model(str(folder))
    assert forecast.parameters(sizes)["all"] == sum(w.numel() for w in model.parameters())


@pytest.mark.parametrize(
    ("scale", "recipes", "trainings"),
    [
        ("llama2-13b", [], ["blossom-bi +03_bilingual_pretraining", "blossom-bi-biSFT +04_korean_lima_sft"]),
        ("llama2-7b", ["recipes=base,cross-lingual-direct"], ["cross-lingual-direct +04_korean_lima_sft"]),
    ],
)
def test_a_dry_run_lists_every_job_with_hours_memory_and_disk(scale, recipes, trainings, tmp_path):
    root = [f"--directory={paths.ROOT}", f"--snakefile={paths.ROOT / 'Snakefile'}", "--nolock"]
    asked = ["--config", f"outputs={tmp_path}/o", *recipes, "--", f"{tmp_path}/o/{scale}/report.html"]
    command = [sys.executable, "-m", "snakemake", "-n", *root, *asked]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    jobs, plan = done.stdout.split(f"Plan of {scale}\n")
    for row in trainings:
        assert re.search(rf"^{row} +[\d,]+\.\d +\d x \d+ GB +\d+ GB +\d+ GB$", plan, re.M), plan
    assert len(re.findall(r"^\S+ +0\d_\w+ .*GB$", plan, re.M)) == len(re.findall("^rule (stage|training):", jobs, re.M))
    assert "TFLOP/s each at utilisation" in plan and "the hub was not asked" in plan
    assert "gpu=1" in jobs and "runtime=" in jobs and "disk_mb=" in jobs


def test_scales_without_a_card_have_no_forecast():
    assert forecast.assumptions("laptop") is None
    report = params.effective_params("07_report", "laptop", "report")
    assert forecast.Ledger().resource("mem_mb", report, "07_report") == forecast.SMALL["mem_mb"]


# ------------------------------------------------------------------------------ the very settings, on a tiny Llama


def tiny(scale, recipe, tmp_path, **more):
    """(parameters, folder of a tiny Llama with new rows): the scale's settings but for base, texts and tokens."""
    own = {
        "base_model": "tiny-sentencepiece",
        "korean_texts": ["smoke-ko"],
        "english_texts": ["smoke-en"],
        "heldout_lines": 20,
    }
    p = params.effective_params(STAGE[recipe], scale, recipe, outputs=str(tmp_path), **own, **more)
    model, tokenizer = load_model("tiny-sentencepiece")
    tokenizer.add_tokens([f"새{n}" for n in range(8)])
    rows = [random_rows(t.weight.detach(), 8, 0) for t in (model.get_input_embeddings(), model.get_output_embeddings())]
    resize_model(model, 500, *rows)
    model.config.max_position_embeddings = 4096  # as Llama-2's
    save_model(model, tokenizer, tmp_path / "start")
    return p, tmp_path / "start"


def test_the_13b_settings_train_a_tiny_llama(tmp_path):
    p, start = tiny("llama2-13b", "blossom-bi", tmp_path, training_tokens=2 * 8 * 2048)
    model, tokenizer = load_adapted(p, start)
    before = {name: w.detach().clone() for name, w in model.named_parameters()}
    blocks = mix_corpus(p, read_corpus(p), tokenizer)
    result = train_model(model, blocks, TrainingSettings.of(p), tmp_path / "run", report=lambda line: None)
    assert result["steps"] == 2 and result["tokens"] == pytest.approx(2 * 8 * 2048, rel=0.1)
    kept = {name: w for name, w in model.named_parameters() if ".original_module." not in name}  # those are let go
    moved = {name for name, w in kept.items() if not torch.equal(w.float(), before[name].float().to(w.dtype).float())}
    assert moved and all(re.search("lora_|modules_to_save", name) for name in moved)
    assert any("embed_tokens" in name for name in moved) and any("lm_head" in name for name in moved)
    assert keep_model(model, tokenizer, start, tmp_path / "run") < 1e-3


def test_the_7b_settings_of_paper_x_train_a_tiny_llama(tmp_path):
    local = {
        "korean_instructions": ["authored-ko"],
        "english_instructions": ["authored-en"],
        "translations": [str(tmp_path / "t.tsv")],
    }
    (tmp_path / "t.tsv").write_text("".join(f"Sentence {n}.\t{n}번째 문장.\n" for n in range(60)), encoding="utf-8")
    p, start = tiny("llama2-7b", "cross-lingual-direct", tmp_path, **local)
    model, tokenizer = load_model(start)
    model = adapt_model(model, p.trainable)
    chosen, _ = hold_out_examples(load_examples(p), p.heldout_examples)
    rows = encode_examples(chosen, p.template, tokenizer)
    rows = [row for row in rows if len(row["input_ids"]) <= 512][:40]  # short ones: seconds
    settings = TrainingSettings.of(p, "sft_")
    result = train_model(model, rows, settings, tmp_path / "run", report=lambda line: None)
    assert result["steps"] == round(len(rows) * 3 / 16) and result["loss"][-1]["loss"] > 0
    assert {e.task for e in chosen} == {"ko", "en", "translation"}


def test_several_cards_train_before_the_notebook_takes_over(tmp_path, smoke, capsys):
    """The command alone, on one processor; what it leaves is what the notebook's own call of `fit` finds finished."""
    from blossom.instructions import __main__ as launched

    words = [
        "korean_instructions=[authored-ko]",
        "sft_checkpoints=1",
        f"outputs={tmp_path}/o",
        "sft_evaluations=0",
        "epochs=0.5",
    ]
    files = [str(params.scale_file("smoke")), str(params.recipe_file("base-koSFT"))]
    launched.launch_tuning([w for f in files for w in ("--params", f)] + [w for word in words for w in ("--set", word)])
    assert "finish: run notebooks/04_korean_lima_sft.ipynb" in capsys.readouterr().out
    p = params.effective_params(
        launched.STAGE, "smoke", "base-koSFT", outputs=f"{tmp_path}/o", sft_checkpoints=1, epochs=0.5, sft_evaluations=0
    )
    model, tokenizer = load_model(p.base_model)
    model = adapt_model(model, p.trainable, p.lora_rank, p.lora_alpha, p.lora_targets)
    rows, _ = launched.prepare_rows(p, tokenizer)
    folder, said = paths.stage_folder(p.outputs, p.scale, p.recipe, launched.STAGE), []
    result = train_model(model, rows, TrainingSettings.of(p, "sft_"), folder, report=said.append)
    assert said == [f"continuing from step-{result['steps']:06d}"]


def test_the_launch_line_names_the_configuration_for_what_learns():
    x = params.effective_params("04_korean_lima_sft", "llama2-7b", "cross-lingual-direct")
    line = forecast.launch("04_korean_lima_sft", x, forecast.assumptions("llama2-7b"), {"outputs": "o"})
    assert line.startswith(
        "accelerate launch --config_file params/accelerate/fsdp.yaml --num_processes 8 -m blossom.instructions "
    )
    assert line.endswith("""--set 'outputs="o"' && """)
    b = params.effective_params("03_bilingual_pretraining", "llama2-13b", "blossom-bi")
    assert forecast.launch("03_bilingual_pretraining", b, forecast.assumptions("llama2-13b"), {}) == ""
    several = forecast.launch("03_bilingual_pretraining", b, forecast.assumptions("llama2-13b", devices=2), {})
    assert "accelerate/ddp.yaml --num_processes 2 -m blossom.training --params params/scales/llama2-13b.yaml" in several
    assert forecast.launch("05_benchmark_eval", b, forecast.assumptions("llama2-7b"), {}) == ""


# ------------------------------------------------------------------------------------------------------- clusters


PROFILE = paths.ROOT / "params" / "profiles" / "slurm" / "config.yaml"


def dry_run(profile, tmp_path):
    root = [f"--directory={paths.ROOT}", f"--snakefile={paths.ROOT / 'Snakefile'}", "--nolock", f"--profile={profile}"]
    command = [sys.executable, "-m", "snakemake", "-n", *root, "--config", f"outputs={tmp_path}/o", "--"]
    done = subprocess.run([*command, f"{tmp_path}/o/llama2-13b/report.html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_slurm_profile_asks_for_what_is_forecast_and_for_the_limit_of_the_partition(tmp_path):
    """Without the executor plugin, which is no part of the lock: its own lines are left out, all others are as shipped."""
    shipped = yaml.safe_load(PROFILE.read_text(encoding="utf-8"))
    assert shipped["executor"] == "slurm" and shipped["slurm-requeue"] is True and shipped["retries"] > 0
    own = {k: v for k, v in shipped.items() if k != "executor" and not k.startswith("slurm-")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    jobs = dry_run(tmp_path, tmp_path).split("Plan of ")[0]
    limit = shipped["set-resources"]["training"]["runtime"]
    trained = [block for block in jobs.split("\nrule ") if block.startswith("training:")]
    assert len(trained) == 2 and all(f"runtime={limit}," in t and "gpu=1" in t and "threads: 16" in t for t in trained)
    assert all("mem_mb=72" in t for t in trained) and "slurm_partition=" in jobs


@pytest.mark.skipif(find_spec("snakemake_executor_plugin_slurm") is None, reason="needs snakemake-executor-plugin-slurm")
def test_the_slurm_profile_runs_dry_with_its_plugin(tmp_path):
    assert "Plan of llama2-13b" in dry_run(PROFILE.parent, tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card: the papers' real shapes")
@pytest.mark.parametrize(("scale", "recipe"), RUNS[:1])
def test_the_real_shapes_take_the_memory_that_is_forecast(scale, recipe):
    p, assumed = params.effective_params(STAGE[recipe], scale, recipe), forecast.assumptions(scale)
    sizes = forecast.config(p.base_model)
    if torch.cuda.mem_get_info()[0] < forecast.training_bytes(p, sizes, assumed.new_rows, p.block_size):
        pytest.skip("the card is smaller than the paper's")
    model = built(scale, assumed.new_rows, device="cuda", dtype=torch.bfloat16)
    learner = Learner(adapt_model(model, p.trainable, p.lora_rank), p.precision, p.activation_checkpointing).train()
    optimizer = torch.optim.AdamW(learner.parameter_groups(TrainingSettings.of(p)), fused=True)
    ids = torch.randint(32000, (p.batch_size, p.block_size), device="cuda")
    for _ in range(3):
        loss = learner(ids, ids, items=ids.numel())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.isfinite(loss)
    assert torch.cuda.max_memory_allocated() == pytest.approx(
        forecast.training_bytes(p, sizes, assumed.new_rows, ids.numel()), rel=0.2
    )
