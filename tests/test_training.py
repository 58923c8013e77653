import functools
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import nbformat
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from blossom.batch import estimate
from blossom.common import params, paths, runs, stages
from blossom.models import adapters, bits, loading
from blossom.text.corpus import read_corpus
from blossom.training import checkpoints, learner, optimizers, packing, pretraining
from blossom.training.__main__ import build_tuning, launch_training, prepare_tuning, read_training_params
from blossom.training.loop import train_model
from blossom.training.settings import TrainingSettings
from blossom.vocabulary.embeddings import nearest_rows, summarize_rows
from tests.cases import read_cases
from tests.forks import evaluate_once, run_forks, train_killed, train_sharded
from tests.tiny import EXACT, MODES, adapted, grown, some_rows

CASES = read_cases(__file__)
FITS = (stages.TRAINED, "base-ko", "batch_size, block_size"), (stages.TUNED, "base-koSFT", "sft_batch_size, sequence_length")
LINES = ["Open the door and turn on the light.", "Settings of the device"]


def test_fit_learns_and_says_what_it_did(tmp_path):
    model, data, seen = adapted(), some_rows(20), []
    settings = replace(EXACT, batch_size=4, epochs=2.5, evaluations=2, learning_rate=3e-3, row_learning_rate=1e-2)
    words = data, settings, tmp_path, lambda m: {"english": learner.mean_loss(m, data)}, seen.append
    result = train_model(model, *words)
    during = [d["english"] for d in result["during"]]
    assert {"steps": 13, "rows": 50, "tokens": 50 * 24, "labelled_tokens": 50 * 23}.items() <= result.items()
    assert [d["step"] for d in result["during"]] == [0, 4, 9, 13]
    assert during[-1] < during[0] - 0.02 and result["loss"][0]["loss"] == pytest.approx(during[0], abs=0.3)
    assert any("tokens/s" in line for line in seen) and paths.read_json(tmp_path / "history.json")["steps"] == 13
    assert train_model(model, *words) == result and seen[-1] == "continuing from step-000013", "loaded, not trained again"
    with pytest.raises(params.ParameterError, match="an earlier call has trained this model: run the cells again"):
        train_model(model, data, EXACT, tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_measuring_changes_nothing_and_training_leaves_the_library_s_forward(mode, dtype, tmp_path):
    def state(model):
        return {n: (p.dtype, p.clone()) for n, p in model.named_parameters() if "original_module" not in n}

    model, ids = adapted(mode=mode).to(dtype), torch.arange(10, 40)[None]
    before, logits = state(model), model(ids).logits
    learner.mean_loss(model, some_rows(4))
    bits.bits_per_byte(model, loading.load_model("tiny-byte-level")[1], ["Open the door."])
    assert torch.equal(model(ids).logits, logits) and model(ids).logits.dtype == dtype
    assert all(was == dtype and torch.equal(value, before[name][1]) for name, (was, value) in state(model).items())

    def evaluate(m):
        assert "forward" in vars(m.get_output_embeddings())  # the fast way
        return {"english": learner.mean_loss(m, some_rows(4))}

    settings = TrainingSettings(precision="bfloat16", learning_rate=0.0, row_learning_rate=0.0)
    train_model(model, some_rows(4), settings, tmp_path, evaluate, lambda line: None)
    assert not [name for name, module in model.named_modules() if "forward" in vars(module)]
    assert {n: was for n, (was, _) in before.items()} == {n: was for n, (was, _) in state(model).items()}
    assert torch.allclose(model.eval()(ids).logits.float(), logits.float(), atol=0.05)


def test_processes_share_out_a_measurement(monkeypatch):
    given = *loading.load_model("tiny-byte-level"), [f"Line {'very ' * n}long." for n in range(40)], 512
    whole, parts = bits.document_nats(*given), []
    for rank in range(2):
        for name, value in {"is_initialized": True, "get_world_size": 2, "get_rank": rank, "all_reduce": None}.items():
            monkeypatch.setattr(torch.distributed, name, lambda *_, value=value: value)
        parts.append(bits.document_nats(*given))
    assert torch.equal(parts[0] + parts[1], whole) and not (parts[0] * parts[1]).any() and all(p.any() for p in parts)


def test_muon_moves_the_matrices_and_adamw_the_vectors_and_rows():
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(size)) for size in ((6, 4), (4,), (5, 4))]
    theirs = [torch.nn.Parameter(weight.detach().clone()) for weight in ours]
    rows, words = {"params": ours[2:], "lr": 0.2, "eps": 1e-3}, {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0}
    both = optimizers.MuonAdamW([{"params": ours[:2], "lr": 0.1}, rows], words)
    alone = [torch.optim.Muon(theirs[:1], lr=0.1, weight_decay=0, adjust_lr_fn="match_rms_adamw")]
    alone.append(torch.optim.AdamW([{"params": theirs[1:2], "lr": 0.1}, rows | {"params": theirs[2:]}], **words))
    for optimizer in (both, *alone, both, *alone):
        for n, weight in enumerate((*ours, *theirs)):
            weight.grad = torch.arange(weight.numel()).view_as(weight).cos() + n % 3
        optimizer.step()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))
    assert [{*both.state[weight]} for weight in ours] == [{"momentum_buffer"}, *2 * [{"step", "exp_avg", "exp_avg_sq"}]]


def test_rows_have_a_rate_of_their_own(tmp_path):
    model = adapted()
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    train_model(model, some_rows(), replace(EXACT, learning_rate=0.0, row_learning_rate=1e-2), tmp_path)
    moved = {n for n, p in model.named_parameters() if n in before and not torch.equal(p, before[n])}
    assert moved == {n for n in before if "trainable_tokens" in n}


def test_a_block_of_one_token_has_no_label_and_ends_no_training(tmp_path):
    blocks = packing.Blocks({"ko": packing.TokenStream(np.arange(10, 27), np.array([0, 17]), 17)}, {"ko": 1}, 8)
    result = train_model(adapted(), blocks, replace(EXACT, batch_size=1), tmp_path, report=lambda line: None)
    assert result["labelled_tokens"] == 14 and result["steps"] == 3


def test_a_rise_of_english_beyond_the_budget_stops_the_run(tmp_path):
    values, settings = iter([2.0, 2.01, 2.2, 2.3]), replace(EXACT, evaluations=3, forgetting_budget=0.02)
    result = train_model(adapted(), some_rows(16), settings, tmp_path, lambda m: {"english": next(values)}, print)
    assert result["steps"] == 4 and "2.000 to 2.200" in result["stopped"]


def test_the_rate_stays_and_falls_in_the_last_fifth_with_wsd(tmp_path, monkeypatch):
    rates, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: [rates.append(self.param_groups[0]["lr"]), step(self)])
    train_model(adapted(), some_rows(40), replace(EXACT, schedule="wsd", warmup=0.1), tmp_path, report=lambda line: None)
    assert len(rates) == 20 and rates[0] < rates[1] < rates[2] and {*rates[2:16]} == {EXACT.learning_rate}
    assert rates[16:] == sorted(rates[16:], reverse=True) and rates[-1] < 0.2 * EXACT.learning_rate
    for name in ("cosine", "wsd"):  # from 0 on, a training of one step would learn nothing
        train_model(adapted(), some_rows(), replace(EXACT, schedule=name, accumulation=64), tmp_path / name)
    assert rates[20:] == [EXACT.learning_rate] * 2


def test_curves_reach_tensorboard(tmp_path):
    train_model(adapted(), some_rows(), replace(EXACT, report_to="tensorboard"), tmp_path, lambda m: {"english": 1.5})
    assert all(n in next((tmp_path / "tensorboard").iterdir()).read_bytes() for n in (b"train/loss", b"heldout/english"))


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "asked to end"])
def test_a_run_that_ends_early_ends_with_the_same_weights_bit_for_bit(killed, tmp_path):
    settings = EXACT if killed else replace(EXACT, evaluations=2, checkpoint_minutes=60, optimizer="muon")
    whole, words, folder = adapted(), (some_rows(12 if killed else 162), settings), tmp_path / "early"
    expected = train_model(whole, *words, tmp_path / "whole", evaluate_once, lambda line: None)
    if killed:
        assert run_forks(1, os.devnull, train_killed, folder) == [-signal.SIGKILL]
    else:  # at the second measurement
        asks = iter([lambda: None, lambda: os.kill(os.getpid(), signal.SIGTERM)])
        with pytest.raises(RuntimeError, match="after step 27 of 81, and saved: the same command goes on"):
            train_model(adapted(), *words, folder, lambda m: next(asks)() or evaluate_once(m), lambda line: None)
    saved = "step-000003" if killed else "step-000027"
    assert max(f.name for f in (folder / "checkpoints").glob("step-*")) == saved
    again, lines = adapted(), []
    result = train_model(again, *words, folder, evaluate_once, lines.append)
    assert lines[0] == f"continuing from {saved}"
    for (name, a), (_, b) in zip(whole.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert [r["loss"] for r in result["loss"]] == [r["loss"] for r in expected["loss"]]
    assert result["tokens"] == expected["tokens"] and result["during"] == expected["during"]


def test_tuning_killed_and_resumed_by_another_process_ends_the_same_and_the_notebook_takes_over(tmp_path, capsys):
    own = {"precision": "float32", "checkpoint_minutes": 0, "epochs": 2, "seed": 7}
    words = [stages.TUNED, *(f"--params={paths.ROOT}/params/{file}.yaml" for file in ("scales/smoke", "recipes/base-koSFT"))]
    words += [f"--set={name}={value}" for name, value in own.items()]
    killed, whole = ([*words, f"--set=outputs={tmp_path / name}"] for name in ("killed", "whole"))
    done = subprocess.run([sys.executable, "-c", CASES["tuning"], *killed], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert max(f.name for f in tmp_path.rglob("checkpoints/step-*")) == "step-000002"
    launch_training(killed)
    assert "continuing from step-000002" in (told := capsys.readouterr().out)
    assert f"finish: run notebooks/{stages.TUNED}.ipynb" in told
    launch_training(whole)
    states = [load_file(next((tmp_path / name).rglob("step-000004/state.safetensors"))) for name in ("killed", "whole")]
    assert states[0].keys() == states[1].keys() and any("lora_A" in name for name in states[0])
    assert [name for name, value in states[0].items() if not torch.equal(value, states[1][name])] == []
    p = params.effective_params(stages.TUNED, "smoke", "base-koSFT", outputs=str(tmp_path / "killed"), **own)
    (_, rows, evaluate), said = build_tuning(p, given := prepare_tuning(p, 1)), []
    folder = paths.unfinished_folder(paths.stage_folder(p.outputs, p.scale, p.recipe, stages.TUNED))
    for measure in (evaluate, functools.partial(evaluate.func, texts={"ko": rows[:2]})):
        train_model(build_tuning(p, given)[0], rows, TrainingSettings.of(p, "sft_"), folder, measure, said.append)
    assert said[0] == "continuing from step-000004", "nothing is trained again"
    assert "held-out texts): set aside" in said[1], "a curve does not go on with other texts"


@pytest.mark.parametrize("seed", [0, 2**40])
def test_making_a_run_seeds_every_generator(seed, smoke):
    def draw(seed):
        runs.Run(smoke("04_korean_lima_sft", seed=seed), "04_korean_lima_sft")
        return random.random(), np.random.random(), torch.rand(1).item()

    assert draw(seed) == draw(seed) and not set(draw(seed)) & set(draw(seed + 1))


DAMAGES = [("state.safetensors", lambda b: b[:-9] + b"damaged!!"), ("state.safetensors", None)]
DAMAGES += [("progress.json", lambda b: b.replace(b'"tokens": ', b'"tokens": 1'))]


@pytest.mark.parametrize(("name", "change"), DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_is_taken(tmp_path, name, change):
    def trained():
        said, model = [], adapted()
        train_model(model, some_rows(6), EXACT, tmp_path, report=said.append)
        return said, dict(model.named_parameters())

    def damage(step):
        file = tmp_path / "checkpoints" / step / name
        content = file.read_bytes()
        file.write_bytes(change(content)) if change else file.unlink()

    _, whole = trained()
    damage("step-000003")
    said, again = trained()
    assert "set aside as damaged-step-000003" in said[0] and said[1] == "continuing from step-000002"
    assert all(torch.equal(whole[n], again[n]) for n in whole)
    for step in ("step-000002", "step-000003"):
        damage(step)
    assert "no whole checkpoint is left: starting anew" in trained()[0]


def test_checkpoints_are_sorted_by_number_and_one_of_another_tokenizer_base_or_measure_is_set_aside(tmp_path):
    for name in (names := ["step-999999", "step-1000000"]):
        (tmp_path / "empty" / name).mkdir(parents=True)
    assert [found.name for found in checkpoints.list_checkpoints(tmp_path / "empty")] == names
    tokenizer, other = (loading.load_model("tiny-byte-level")[1] for _ in range(2))
    other.add_tokens(["문을"])  # the same text and settings: but its ids mean other tokens
    lines = [f"Open door {n} and the window." for n in range(40)]

    def train(tokenizer, model, measured=1):
        said, stream = [], packing.tokenize_documents(lines, tokenizer, 0, folder=tmp_path / "packed")
        evaluate = functools.partial(bits.measure_bits, tokenizer=tokenizer, texts={"english": lines[:measured]})
        train_model(model, packing.Blocks({"english": stream}, {"english": 1}, 24), EXACT, tmp_path, evaluate, said.append)
        return said[0]

    assert "step 0/" in train(tokenizer, adapted()) and "(text): set aside as checkpoints.old," in train(other, adapted())
    assert "set aside as checkpoints.old2" in train(tokenizer, adapted())
    (base := adapted()).get_base_model().model.layers[0].mlp.down_proj.weight.data[9, 9] += 1
    assert "is of another run (model): set aside as checkpoints.old3, starting anew" in train(tokenizer, base)
    assert "held-out texts): set aside as checkpoints.old4" in train(tokenizer, adapted(), measured=2)
    assert all(list((tmp_path / name).glob("step-*")) for name in ("checkpoints", "checkpoints.old", "checkpoints.old2"))


GIVEN = {"precision": "float32", "checkpoint_minutes": 0, "evaluations": 0, "training_tokens": 1900, "korean_share": 0.7}


def launch_words(outputs, **own):
    files = [f"--params={paths.ROOT}/params/{name}.yaml" for name in ("scales/smoke", "recipes/base-ko")]
    given = GIVEN | {"outputs": outputs} | own
    return [stages.TRAINED, *files, *(f"--set={name}={value}" for name, value in given.items())]


def test_the_files_of_a_scale_and_a_recipe_name_them(tmp_path):
    for n, file in enumerate(files := [tmp_path / f"{name}.yaml" for name in ("scales/mine", "recipes/yours", "other")]):
        paths.write_text(file, f"seed: {n}\n")
    p = read_training_params(files, [])
    assert (p.scale, p.recipe, p.seed) == ("mine", "yours", 2)


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("one")
    launch_training(launch_words(outputs, batch_size=4))
    return paths.unfinished_folder(outputs / "smoke/base-ko" / stages.TRAINED)


def assert_trained_alike(*folders, near=1e-5):
    one, two = (paths.read_json(folder / "history.json") for folder in folders)
    assert all(one[name] == two[name] for name in ("steps", "tokens", "rows")) and one["steps"] == 8 and one["rows"] == 30
    assert np.allclose([r["loss"] for r in one["loss"]], [r["loss"] for r in two["loss"]], rtol=10 * near)
    assert two["during"][-1]["korean"] == pytest.approx(one["during"][-1]["korean"], rel=10 * near)
    states = [load_file(f / "checkpoints/step-000008/state.safetensors") for f in folders]
    for name in (n for n in states[0] if n.startswith("parameter/")):
        a, b = (state[name] for state in states)  # by norm: Adam may turn the sign of a gradient near 0 into a whole step
        assert (a - b).norm() <= 50 * near * a.norm(), name
    return two, states[1]


def test_two_processes_give_the_losses_of_one_and_the_notebook_takes_over(by_one, tmp_path, monkeypatch):
    command = [sys.executable, *"-m torch.distributed.run --standalone --nproc_per_node=2 -m blossom.training".split()]
    command += launch_words(tmp_path, batch_size=2)
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = paths.unfinished_folder(tmp_path / "smoke/base-ko" / stages.TRAINED)
    history, state = assert_trained_alike(by_one, folder)
    assert history["during"][0] == paths.read_json(by_one / "history.json")["during"][0]
    p = params.effective_params(stages.TRAINED, "smoke", "base-ko", outputs=str(tmp_path), batch_size=2, **GIVEN)
    lines, (model, tokenizer) = [], pretraining.load_adapted(p, pretraining.find_start(p))
    blocks = pretraining.mix_corpus(p, read_corpus(p), tokenizer)
    assert train_model(model, blocks, TrainingSettings.of(p), folder, report=lines.append) == history
    assert lines == ["continuing from step-000008"]  # nothing is trained again
    trained = {f"parameter/model.{n}": p for n, p in model.named_parameters() if p.requires_grad}
    assert trained and all(torch.equal(state[name], p) for name, p in trained.items())
    monkeypatch.setattr(estimate, "free_bytes", lambda: 0)  # what several cards have trained fits on one, and is not refused
    found, other = (checkpoints.read_result(folder, TrainingSettings.of(own)) for own in (p, replace(p, seed=1)))
    assert estimate.estimate_run(p, pretraining.find_start(p), 2, 64, done=found) > 0
    with pytest.raises(MemoryError):
        estimate.estimate_run(p, pretraining.find_start(p), 2, 64, done=other)


def launch_environment(name):
    """The variables that `accelerate launch --config_file params/accelerate/<name>.yaml` gives its processes."""
    from accelerate.commands import launch

    file = paths.ROOT / "params" / "accelerate" / f"{name}.yaml"
    asked = launch.launch_command_parser().parse_args(["--config_file", str(file), "-m", "blossom.training"])
    return asked, launch.prepare_multi_gpu_env(launch._validate_launch_command(asked)[0])


@pytest.mark.parametrize(("name", "processes"), [("fsdp", 8), ("ddp", 2)])
def test_accelerate_reads_the_shipped_configurations(name, processes):
    asked, environment = launch_environment(name)
    assert asked.num_processes == processes and asked.mixed_precision == "no"
    assert (environment.get("ACCELERATE_USE_FSDP") == "true") == (name == "fsdp")


@pytest.mark.parametrize(("precision", "near"), [("float32", 1e-5), ("bfloat16", 2e-3)])
def test_two_processes_that_share_the_weights_train_as_one_killed_and_resumed(precision, near, by_one, tmp_path):
    folder = paths.unfinished_folder(tmp_path / "smoke/base-ko" / stages.TRAINED)
    own = {"accumulation": 2, "precision": precision, "activation_checkpointing": True}  # the library's layers, as on cards
    words = launch_words(tmp_path, batch_size=1, **own)
    run = functools.partial(run_forks, 2, tmp_path / "log", train_sharded, words, launch_environment("fsdp")[1])
    if precision == "float32":
        assert 9 in run(5)
        assert max(f.name for f in (folder / "checkpoints").glob("step-*")) == "step-000004"
    codes, told = run(0), (tmp_path / "log").read_text()
    assert codes == [0, 0] and ("continuing from step-000004" in told) == (precision == "float32"), told[-3000:]
    assert_trained_alike(by_one, folder, near=near)


@pytest.mark.parametrize(("stage", "recipe", "lower"), FITS)
def test_a_run_that_will_not_fit_says_so_before_its_model_is_loaded(stage, recipe, lower, smoke, monkeypatch):
    monkeypatch.setattr(estimate, "free_bytes", lambda: 0.8e9)
    monkeypatch.setattr("blossom.models.loading.load_model", lambda *a, **b: pytest.fail("loaded"))
    message = rf"0\.9 GB of memory \(free: 0\.8 GB\).* lower {lower}, lora_rank.*`activation_checkpointing"
    names, book = {}, nbformat.read(paths.ROOT / "notebooks" / f"{stage}.ipynb", 4)
    with pytest.raises(MemoryError, match=message):
        for cell in (c for c in book.cells if c.cell_type == "code"):
            exec(cell.source, names)
            names |= asdict(smoke(stage, recipe)) if "parameters" in cell.metadata.get("tags", []) else {}


def test_a_launch_that_will_not_fit_says_so_too(tmp_path, monkeypatch):
    monkeypatch.setattr("blossom.models.loading.load_model", lambda *a, **b: pytest.fail("loaded"))
    with pytest.raises(MemoryError, match="lower batch_size, block_size, lora_rank"):
        launch_training(launch_words(tmp_path, batch_size=1 << 30, activation_checkpointing=True))


def mixed(smoke, **given):
    p = smoke(stages.TRAINED, **given)
    return pretraining.mix_corpus(p, read_corpus(p), loading.load_model("tiny-byte-level")[1])


def test_a_language_s_sources_are_mixed_by_their_weights(smoke):
    texts = {"english_texts": ["smoke-en", "general-ko"], "heldout_lines": 10, "general_korean": "authored-prose-ko"}
    blocks = mixed(smoke, **texts, source_weights={"smoke-en": 1, "general-ko": 3}, training_tokens=25_600)
    shares = {row["source"]: row["realised share"] for row in blocks.table()}
    assert [row["tokens used"] for row in blocks.table(10)] == [*blocks.realised(10).values()], "of a training that stopped"
    assert shares == pytest.approx({"korean": 0.7, "english: smoke-en": 0.075, "english: general-ko": 0.225}, abs=0.005)
    with pytest.raises(ValueError, match="source_weights.*smoke-en, general-ko"):
        mixed(smoke, **texts, source_weights={"smoke-en": 1})


CHANGES = {"seed": 1, "isolate_documents": False, "korean_share": 0.5, "block_size": 32, "training_tokens": 2048}


@pytest.mark.parametrize("name", [*CHANGES, "english_anchor"])
def test_every_parameter_of_a_mixture_changes_its_blocks(smoke, name):
    changed, usual = mixed(smoke, **{name: CHANGES.get(name, 0.0)}), mixed(smoke)
    rows = [[str(blocks[i]) for i in range(len(blocks))] for blocks in (changed, usual)]
    assert changed.key != usual.key and rows[0] != rows[1]


def test_pretraining_needs_a_vocabulary_whose_certificate_holds(smoke):
    p, (model, tokenizer) = smoke(stages.TRAINED), loading.load_model("tiny-byte-level")
    loading.save_model(model, tokenizer, paths.stage_folder(p.outputs, "smoke", "blossom-bi", "02_vocab_merge") / "model")
    runs.Run(smoke("02_vocab_merge"), "02_vocab_merge").finish({})
    with pytest.raises(ValueError, match=r"no certificate\.json"):
        pretraining.find_start(p)


def test_the_health_of_new_rows_counts_what_was_read_and_how_far_rows_moved():
    before, after = (torch.eye(6)[:, :4] + 0.5 for _ in range(2))
    after[4] *= 2
    found = summarize_rows([{"input_ids": np.array([4, 4, 1])}, {"input_ids": np.array([5])}], 1, before, after, 4)
    assert found["read"].to_dict() == {4: 2, 5: 0} and np.allclose(found["moved"], [1, 0])
    assert nearest_rows(torch.tensor([[1.0, 0.1], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.2]]), [0, 3], 1).tolist() == [[1], [2]]


@pytest.mark.parametrize(("given", "card", "told"), CASES["refused"])
def test_options_that_do_not_work_here_are_refused(given, card, told, tmp_path, smoke, monkeypatch):
    model, p = adapted(), smoke(stages.TRAINED, "base-ko", **given)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", str("FSDP" in told).lower())
    with pytest.raises(ValueError, match=told):  # before a notebook loads anything
        estimate.estimate_run(p, "tiny-byte-level", 1, 64)
    with pytest.raises(ValueError, match=told):
        train_model(model, some_rows(), p, tmp_path)


def trained_loud(dtype, mode, folder, weight=1.0, **options):
    """(model after training, tokenizer, base, report) of a tiny base stored in `dtype`, its logits as large as real ones."""
    model, tokenizer = grown("tiny-byte-level")
    model.get_input_embeddings().weight.data *= 20
    model.model.norm.weight.data[0] *= weight
    loading.save_model(model.to(dtype), tokenizer, folder / "base")
    model, said = adapters.adapt_model(loading.load_model(folder / "base", **options)[0], mode, rank=4), []
    train_model(model, some_rows(), EXACT, folder / "run", report=said.append)
    return model, tokenizer, folder / "base", said


HALF = [*((mode, torch.bfloat16) for mode in MODES), (MODES[0], torch.float16)]


@pytest.mark.parametrize(("mode", "stored"), [(MODES[0], torch.float32), *HALF])
def test_what_is_kept_is_what_was_trained_in_the_precision_of_the_base(mode, stored, tmp_path):
    model, tokenizer, base, _ = trained_loud(stored, mode, tmp_path)
    trained, close = bits.bits_per_byte(model, tokenizer, LINES), 1e-5 if stored == torch.float32 else 2e-3
    kept = checkpoints.keep_model(model, tokenizer, base, tmp_path / "run", LINES)
    assert kept["saved"] == pytest.approx(kept["trained"], rel=close)
    assert kept["trained"] == pytest.approx(trained, rel=5 * close)  # in memory it was rounded to the nearest
    saved, _ = loading.load_model(tmp_path / "run" / "model")
    assert saved.dtype == stored and kept["stored"] == str(stored).removeprefix("torch.")
    assert bits.bits_per_byte(saved.float(), tokenizer, LINES) == pytest.approx(kept["saved"], rel=close)
    assert (tmp_path / "run" / "adapter").exists() == (mode != "full")


@pytest.mark.parametrize("mode", MODES[:3])
def test_weights_in_nf4_train_like_the_same_ones_in_plain_layers_resume_and_are_merged_into_the_base_s_own(mode, tmp_path):
    library = pytest.importorskip("bitsandbytes").functional
    trained_loud(torch.float32, mode, tmp_path, quantize="nf4")
    shutil.rmtree(tmp_path / "run/checkpoints/step-000006")
    model, tokenizer, base, said = trained_loud(torch.float32, mode, tmp_path, quantize="nf4")
    assert said[0] == "continuing from step-000005"
    plain = adapters.adapt_model(loading.load_model(base)[0], mode, rank=4)
    assert adapters.trainable_share(plain) == adapters.trainable_share(model)
    for name, weight in model.named_parameters():
        if weight.dtype == torch.uint8:
            plain.get_parameter(name).data = library.dequantize_4bit(weight, weight.quant_state)
    result = train_model(plain, some_rows(), replace(EXACT, activation_checkpointing=True), tmp_path / "plain", report=print)
    assert result["loss"] == paths.read_json(tmp_path / "run/history.json")["loss"]  # and norms of gradients
    assert all(torch.equal(p, model.get_parameter(name)) for name, p in plain.named_parameters() if p.requires_grad)
    kept = checkpoints.keep_model(model, tokenizer, base, tmp_path / "run", LINES)
    assert kept["trained"] == pytest.approx(bits.bits_per_byte(plain, tokenizer, LINES), rel=1e-6)
    assert kept["merged"] == pytest.approx(kept["saved"], rel=1e-6) and abs(kept["merged"] / kept["trained"] - 1) > 1e-5
    own, saved = (loading.load_model(folder)[0].model.layers[0] for folder in (base, tmp_path / "run" / "model"))
    assert torch.equal(saved.mlp.up_proj.weight, own.mlp.up_proj.weight)  # which has no adapter


@pytest.mark.parametrize("mode", ["lora+embeddings", "full"])
def test_a_refusal_costs_no_training_and_float32_keeps_all_that_a_half_precision_base_learnt(mode, tmp_path, monkeypatch):
    model, tokenizer, base, _ = trained_loud(torch.bfloat16, mode, tmp_path)
    monkeypatch.setattr(adapters, "BITS", 1e-7)
    with pytest.raises(RuntimeError, match=r"as bfloat16.*precision: float32.*training is kept"):
        checkpoints.keep_model(model, tokenizer, base, tmp_path / "run", LINES, "bfloat16")
    model, tokenizer, base, said = trained_loud(torch.bfloat16, mode, tmp_path)
    assert said == ["continuing from step-000006"] and not (tmp_path / "run" / "model").exists()
    assert checkpoints.keep_model(model, tokenizer, base, tmp_path / "run", LINES)["stored"] == "float32"  # auto
    state = load_file(tmp_path / "run/checkpoints/step-000006/state.safetensors")
    (table,) = (value for name, value in state.items() if name.startswith("parameter/") and "embed_tokens" in name)
    assert torch.equal(loading.load_model(tmp_path / "run" / "model")[0].get_input_embeddings().weight, table)


def test_weights_beyond_float16_are_refused_with_the_precisions_that_hold_them(tmp_path):
    model, tokenizer, base, _ = trained_loud(torch.float32, "full", tmp_path, weight=1e5)
    with pytest.raises(RuntimeError, match=r"save_precision: model\.norm\.weight reaches 1e\+05.*bfloat16 or float32"):
        checkpoints.keep_model(model, tokenizer, base, tmp_path / "run", LINES, "float16")
