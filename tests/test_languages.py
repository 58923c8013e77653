"""Another language: Japanese on SmolLM2's kind of base, in every stage that it has, at smoke. Another base: test_hub.py."""

import re

import pytest

from blossom.common import paths
from blossom.report.convert import convert_notebook, read_executed
from blossom.vocabulary import loading, pieces, spelling
from tests.batch import run_snakemake

JAPANESE = "ハンバーガーを食べる象"
MERGED, TRAINED = "blossom-bi/02_vocab_merge", "blossom-bi/03_bilingual_pretraining"
SCORED, REPORT = "blossom-bi/05_benchmark_eval", "report/07_report"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    asked = (f"{folder}/smoke-ja/{run}/manifest.json" for run in ("base/01_tokenization_analysis", REPORT))
    given = '{trainable: full, english_anchor: 0, learning_rate: 1.0e-4, parallel_english: ""}'  # no adapter, no translation
    run_snakemake(folder, *asked, set=given)
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
    texts = [spelling.piece_bytes(piece, "byte-level").decode(errors="ignore").strip() for piece in added]
    pattern = pieces.script_pattern(["Hiragana", "Katakana", "Han"])
    assert added and all(pattern.fullmatch(text) for text in texts if text)


def test_the_language_is_learnt_from_the_new_rows_on(outputs):
    bits = (m := metrics_of(outputs / "smoke-ja" / TRAINED))["bits_per_byte"]
    assert m["korean_share_realised"] == pytest.approx(0.7, abs=0.05) and m["trainable_share"] == 1
    assert bits["after"]["korean"] < bits["before"]["korean"] < bits["base"]["korean"]


def test_notebooks_and_report_call_the_language_by_its_name(outputs):
    for run in ("base/01_tokenization_analysis", MERGED, TRAINED, SCORED):
        cells = read_executed(outputs / "smoke-ja" / run / "notebook.ipynb").cells
        shown = [str(o.get("text") or {**o.data, "image/png": ""}) for c in cells for o in c.get("outputs", ())]
        assert "Japanese" in str(shown) and [text for text in shown if re.search("Korean|eneral korean", text)] == [], run
    assert metrics_of(outputs / "smoke-ja" / REPORT)["recipes"] == ["blossom-bi"]
    page = convert_notebook(read_executed(outputs / "smoke-ja" / REPORT / "notebook.ipynb"), code=False)
    for words in ("{} text", "same {}", "% {}", "{} (general)", "spells {} with fewer"):
        assert words.format("Japanese") in page and words.format("Korean") not in page


def test_only_the_english_tasks_are_scored(outputs):
    assert set(metrics_of(outputs / "smoke-ja" / SCORED)["tasks"]) == {"hellaswag_en", "copa_en"}
    drawn = {f.stem for f in (outputs / "smoke-ja" / SCORED / "figures").glob("*.png")}
    assert drawn == {"differences", "minimal_pairs"}, "no empty table 6"
