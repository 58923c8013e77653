"""Another language and another base: Japanese on SmolLM2's kind, Korean on Qwen's kind; every stage they have, at smoke."""

import json

import pytest

from blossom.common import paths
from blossom.models.loading import load_model
from blossom.report.convert import convert_notebook, read_executed
from blossom.vocabulary import loading, pieces, spelling
from tests.batch import run_snakemake

JAPANESE = "ハンバーガーを食べる象"
MERGED, TRAINED = "blossom-bi/02_vocab_merge", "blossom-bi/03_bilingual_pretraining"
SCORED, TUNED = "blossom-bi/05_benchmark_eval", "blossom-bi-biSFT/04_korean_lima_sft"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    targets = [f"{folder}/smoke-ja/report/07_report/manifest.json", f"{folder}/smoke-qwen/{TUNED}/manifest.json"]
    run_snakemake(folder, *targets)
    return folder


def metrics_of(folder):
    return paths.read_json(folder / "metrics.json")


def test_japanese_gets_shorter_and_english_stays(outputs):
    m = metrics_of(outputs / "smoke-ja" / MERGED)
    assert m["korean_tokens_after"] < 0.6 * m["korean_tokens_before"]
    assert m["english_lines_changed"] == m["round_trip_failures"] == m["unreachable"] == 0
    tokenizer = loading.load_tokenizer(outputs / "smoke-ja" / MERGED / "model")
    assert tokenizer.decode(tokenizer(JAPANESE, add_special_tokens=False).input_ids) == JAPANESE
    added = [token for token, i in tokenizer.get_vocab().items() if i >= m["base_vocabulary"]]
    texts = [spelling.piece_bytes(piece, True).decode(errors="ignore").strip() for piece in added]
    pattern = pieces.script_pattern(["Hiragana", "Katakana", "Han"])
    assert added and all(pattern.fullmatch(text) for text in texts if text)


@pytest.mark.parametrize("scale", ["smoke-ja", "smoke-qwen"])
def test_the_language_is_learnt_from_the_new_rows_on(outputs, scale):
    m = metrics_of(outputs / scale / TRAINED)
    bits = m["bits_per_byte"]
    assert m["korean_share_realised"] == pytest.approx(0.7, abs=0.05) and 0 < m["trainable_share"] < 1
    assert bits["after"]["korean"] < bits["before"]["korean"]
    assert scale == "smoke-qwen" or bits["before"]["korean"] < bits["base"]["korean"]


def test_notebooks_and_report_call_the_language_by_its_name(outputs):
    shown = json.dumps([c.get("outputs") for c in read_executed(outputs / "smoke-ja" / TRAINED / "notebook.ipynb").cells])
    assert "Japanese (corpus)" in shown and "Korean (corpus)" not in shown
    assert metrics_of(outputs / "smoke-ja" / "report/07_report")["recipes"] == ["base", "blossom-bi"]
    page = convert_notebook(read_executed(outputs / "smoke-ja" / "report/07_report/notebook.ipynb"), code=False)
    for words in ("{} text", "same {}", "% {}", "{} (general)"):
        assert words.format("Japanese") in page and words.format("Korean") not in page


def test_only_the_english_tasks_are_scored(outputs):
    assert set(metrics_of(outputs / "smoke-ja" / SCORED)["tasks"]) == {"hellaswag_en", "copa_en"}
    drawn = {f.stem for f in (outputs / "smoke-ja" / SCORED / "figures").glob("*.png")}
    assert drawn == {"differences", "minimal_pairs"}, "no empty table 6"


def test_a_qwen_base_keeps_its_biases_is_tuned_and_answers(outputs):
    bias = "model.layers.0.self_attn.q_proj.bias"
    names = outputs / "smoke-qwen" / TUNED / "model", "tiny-qwen"
    trained, base = (dict(load_model(name)[0].named_parameters())[bias] for name in names)
    assert base.abs().max() > 0 and (trained == base).all()
    loss = metrics_of(outputs / "smoke-qwen" / TUNED)["loss"]
    assert loss["after"]["ko"] < loss["before"]["ko"]
    cells = read_executed(outputs / "smoke-qwen" / TUNED / "notebook.ipynb").cells
    answers = next(c for c in cells if c.cell_type == "code" and "stream_answer(" in c.source)
    said = "".join(o.get("text", "") for o in answers.outputs)
    assert said.split("\n\n")[0] and "\ufffd" not in said
