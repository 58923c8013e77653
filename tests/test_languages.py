"""Another language and another base: Japanese on SmolLM2's kind, Korean on Qwen's kind; every stage they have, at smoke."""

import json
import os
import subprocess
from dataclasses import asdict

import pytest

from blossom.assets.registry import REGISTRY
from blossom.common import figures, params, paths, stages
from blossom.models.loading import load_model
from blossom.report.convert import convert_notebook, read_executed
from blossom.text.corpus import ALIGNED, read_documents
from blossom.vocabulary.fertility import choose_unit
from blossom.vocabulary.loading import load_tokenizer
from blossom.vocabulary.pieces import script_pattern
from blossom.vocabulary.spelling import piece_bytes

JAPANESE = "ハンバーガーを食べる象"


def ran(folder, scale, *runs):
    """Runs of a scale, made by the batch engine: (recipe, stage) -> metrics, and the folder they lie in."""
    targets = [f"{folder}/{scale}/{recipe}/{stage}/manifest.json" for recipe, stage in runs]
    command = ["snakemake", "-c2", "--nolock", *targets, "--config", f"outputs={folder}"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return folder / scale, lambda recipe, stage: paths.read_json(folder / scale / recipe / stage / "metrics.json")


@pytest.fixture(scope="module")
def japanese(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("ja"), "smoke-ja", ("report", "07_report"))  # and all that its recipes have before


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("qwen"), "smoke-qwen", ("blossom-bi-biSFT", "04_korean_lima_sft"))


def test_japanese_gets_shorter_and_english_stays(japanese):
    m = japanese[1]("blossom-bi", "02_vocab_merge")
    assert m["korean_tokens_after"] < 0.6 * m["korean_tokens_before"]
    assert m["english_lines_changed"] == m["round_trip_failures"] == m["unreachable"] == 0
    tokenizer = load_tokenizer(japanese[0] / "blossom-bi/02_vocab_merge/model")
    assert tokenizer.decode(tokenizer(JAPANESE, add_special_tokens=False).input_ids) == JAPANESE


def test_only_the_three_scripts_of_japanese_were_added(japanese):
    vocabulary = load_tokenizer(japanese[0] / "blossom-bi/02_vocab_merge/model").get_vocab()
    added = [token for token, i in vocabulary.items() if i >= 600]
    texts = [piece_bytes(piece, True).decode(errors="ignore").strip() for piece in added]
    pattern = script_pattern(["Hiragana", "Katakana", "Han"])
    assert added and all(pattern.fullmatch(text) for text in texts if text)


def test_japanese_is_learnt(japanese):
    bits = japanese[1]("blossom-bi", "03_bilingual_pretraining")["bits_per_byte"]
    assert bits["after"]["korean"] < bits["before"]["korean"] < bits["base"]["korean"]


def test_the_notebooks_call_the_language_by_its_name(japanese):
    run = japanese[0] / "blossom-bi/03_bilingual_pretraining/notebook.ipynb"
    shown = json.dumps([c.get("outputs") for c in json.loads(run.read_text(encoding="utf-8"))["cells"]], ensure_ascii=False)
    assert "Japanese (corpus)" in shown and "Korean (corpus)" not in shown


def test_its_report_has_the_scales_recipes_and_speaks_of_japanese(japanese):
    folder, metrics = japanese
    assert metrics("report", "07_report")["recipes"] == ["base", "blossom-bi"]
    page = convert_notebook(read_executed(folder / "report/07_report/notebook.ipynb"), code=False)
    assert all(
        said in page for said in ("Japanese text", "tokens for the same Japanese", "% Japanese", "Japanese (general)")
    )
    assert not any(said in page for said in ("Korean text", "same Korean", "% Korean", "Korean (general)"))


def test_only_the_english_tasks_are_scored(japanese):
    folder, metrics = japanese
    assert set(metrics("blossom-bi", "05_benchmark_eval")["tasks"]) == {"hellaswag_en", "copa_en"}
    drawn = {f.stem for f in (folder / "blossom-bi/05_benchmark_eval/figures").glob("*.png")}
    assert drawn == {"steps", "favourite_answers"}, "no empty table 6, no empty josa"


def test_a_qwen_base_is_merged_without_its_padding_rows(qwen):
    folder, metrics = qwen
    m = metrics("blossom-bi", "02_vocab_merge")
    assert m["vocabulary"] == m["base_vocabulary"] + m["added"] and m["certificate_holds"]
    model, tokenizer = load_model(folder / "blossom-bi/02_vocab_merge/model")
    base, _ = load_model("tiny-qwen")
    assert base.get_input_embeddings().weight.shape[0] > m["base_vocabulary"], "the base has padding rows"
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert (model.config.model_type, model.config.tie_word_embeddings) == ("qwen2", False)


def test_a_qwen_base_keeps_its_biases_and_learns(qwen):
    folder, metrics = qwen
    bits = metrics("blossom-bi", "03_bilingual_pretraining")["bits_per_byte"]
    assert bits["after"]["korean"] < bits["before"]["korean"]
    bias = "model.layers.0.self_attn.q_proj.bias"
    trained, base = (dict(load_model(name)[0].named_parameters())[bias] for name in (folder / TUNED, "tiny-qwen"))
    assert base.abs().max() > 0 and (trained == base).all()


TUNED = "blossom-bi-biSFT/04_korean_lima_sft/model"


def test_a_qwen_base_is_tuned_and_talks(qwen):
    folder, metrics = qwen
    loss = metrics("blossom-bi-biSFT", "04_korean_lima_sft")["loss"]
    assert loss["after"]["ko"] < loss["before"]["ko"]
    cells = json.loads((folder / TUNED).with_name("notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    talk = next(c for c in cells if "chat.stream" in "".join(c["source"]))
    said = "".join("".join(o.get("text", "")) for o in talk["outputs"])
    assert said.split("\n\n")[0] and "\ufffd" not in said


@pytest.mark.parametrize("scale", ["laptop-ja", "qwen2.5-0.5b"])
def test_their_scales_differ_from_laptop_where_they_say(scale):
    for stage in stages.STAGES:
        recipe = stages.STAGES[stage]().recipe
        ours, laptop = (asdict(params.effective_params(stage, s, recipe)) for s in (scale, "laptop"))
        said = params.read_params(params.scale_file(scale))
        assert {k for k in ours if ours[k] != laptop[k]} <= set(said)


def test_japanese_texts_are_there_and_aligned():
    assert len(list(read_documents("general-ja"))) == len(list(read_documents("general-en")))
    p = params.effective_params("03_bilingual_pretraining", "laptop-ja", "blossom-bi")
    for source in (*p.korean_texts, *p.english_texts):
        asset = REGISTRY[ALIGNED.get(source, (source,))[0]]
        assert asset.licence and (asset.wheels or asset.in_repository)


def test_counting_is_by_characters_where_words_are_not_parted():
    assert choose_unit(list(read_documents("general-ja"))) == "character"
    assert {choose_unit(list(read_documents(name))) for name in ("general-ko", "general-en")} == {"word"}


def test_figures_speak_of_the_language(monkeypatch):
    monkeypatch.setattr(figures, "LABELS", dict(figures.LABELS))
    figures.set_language("Japanese")
    assert figures.LABELS["korean"] == "Japanese (corpus)" and figures.LABELS["english"] == "English (corpus)"
