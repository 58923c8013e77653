"""Several models on the same items: kept scores, paired differences, josa pairs, written answers, overlap with training."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from blossom.assets.registry import fetch_asset
from blossom.benchmark import comparing, josa, statistics
from blossom.benchmark.comparing import compare_scores, measure_consistency
from blossom.benchmark.evaluation import VERSION, find_models, read_comparators, score_models
from blossom.benchmark.papers import paper_model, paper_table6, paper_x_tables
from blossom.benchmark.suite import PAPER_TASKS, prepare_tasks
from blossom.benchmark.tables import tabulate_josa, tabulate_paper_x, tabulate_table6, wilson_interval
from blossom.benchmark.tasks import utils
from blossom.text.corpus import read_documents


@pytest.fixture(scope="module")
def texts():
    return SimpleNamespace(korean=[], heldout_korean=[], general_korean=list(read_documents("general-ko")))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, texts):
    tasks = ["klue_sts", "kobest_copa", "consistency", "josa"]
    return prepare_tasks(tasks, tmp_path_factory.mktemp("tasks"), items=8, corpus=texts)


@pytest.fixture(scope="module")
def folders():
    return {name: fetch_asset(name) for name in ("tiny-byte-level", "tiny-sentencepiece")}


def score(folders, prepared, kept, precision="float32", texts=None):
    """(results of `score_models`, the lines that it showed)."""
    lines = []
    return score_models(folders, prepared, kept, precision, texts=texts, show=lines.append), lines


def test_a_josa_follows_the_last_sound_of_its_noun():
    words = ["책을", "사과를", "서울로", "서울이", "부산으로", "바다로"]
    nouns = ["책", "사과", "서울", "서울", "부산", "바다"]
    pairs = [josa.PAIRS[n] for n in (0, 0, 3, 1, 3, 3)]
    assert [noun + josa.josa_form(noun, pair) for noun, pair in zip(nouns, pairs, strict=True)] == words


def test_josa_pairs_are_held_out_lines_with_one_word_changed(texts):
    records = josa.make_josa_pairs(texts)
    lines = texts.general_korean
    for r in records:
        right, wrong = (r["with_final"], r["without_final"])[:: 1 if r["label"] == 0 else -1]
        assert any(line.startswith(right) for line in lines), r
        assert right != wrong and not any(line.startswith(wrong) for line in lines)
        assert {right[-1], wrong[-1]} == {form[-1] for form in r["pair"].split("/")}
    assert len(records) > 40 and len({r["id"] for r in records}) == len(records)
    counts = pd.DataFrame(records).groupby(["pair", "label"]).size().unstack()
    assert (counts[0] == counts[1]).all() and len(counts) >= 3


def test_a_verbs_ending_is_no_josa():
    heldout = ["사용하는 기기를 끄는 방법은 없이 다른 기기가 있는 경우", "설정을 하려는 사람이 볼 설정이 있을 때"]
    seen = ["기기에서 기기의 기기와", "설정의 설정에 설정도", "사람의 사람에게", "방법의 방법도"]
    found = josa.make_josa_pairs(SimpleNamespace(korean=seen, heldout_korean=heldout, general_korean=[]))
    assert {r["pair"] for r in found} == {"을/를", "이/가"}
    assert {r["with_final"].split()[-1] for r in found} <= {"기기을", "기기이", "설정을", "설정이", "사람이"}


def test_josa_needs_text_with_pairs(tmp_path):
    with pytest.raises(ValueError, match="josa is made from a run's held-out Korean"):
        prepare_tasks(["josa"], tmp_path)
    with pytest.raises(ValueError, match="josa: the held-out Korean has no noun"):
        josa.make_josa_pairs(SimpleNamespace(korean=[], heldout_korean=["안녕하세요"], general_korean=[]))


def test_a_second_report_costs_nothing(folders, prepared, tmp_path, monkeypatch):
    english = {"english": ["The kettle is on.", "It rains."]}
    first, _ = score(folders, prepared, tmp_path, texts=english)
    monkeypatch.setattr("blossom.benchmark.evaluation.load_model", lambda *a: pytest.fail("a model was loaded again"))
    again, lines = score(folders, prepared, tmp_path, texts=english)
    assert again == first and len(lines) == len(folders) * len(prepared) and all(line.endswith("kept") for line in lines)
    assert all(len(r["items"]) == 40 and r["bits_per_byte"]["english"] > 1 for r in first.values())


def test_a_run_that_dies_keeps_its_finished_tasks_and_a_damaged_record_is_made_again(folders, prepared, tmp_path):
    one = {"tiny": folders["tiny-byte-level"]}

    def dying(line):
        if "kobest_copa" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_models(one, prepared, tmp_path, "float32", show=dying)
    (file,) = tmp_path.rglob("klue_sts-*.json")
    file.write_text('{"score": ')
    _, lines = score(one, prepared, tmp_path)
    assert [line.split()[1] for line in lines if line.endswith("kept")] == ["kobest_copa"]
    assert json.loads(file.read_text())["version"] == VERSION


def test_another_row_weight_or_precision_is_scored_anew(folders, prepared, tmp_path):
    one, task = {"tiny": folders["tiny-byte-level"]}, prepared[:1]
    score(one, task, tmp_path / "kept")
    assert prepare_tasks(["klue_sts"], tmp_path / "elsewhere", items=8)[0].digest == task[0].digest
    other = prepare_tasks(["klue_sts"], tmp_path / "tasks", items=8, seed=1)
    assert other[0].prompt_hash == task[0].prompt_hash and other[0].digest != task[0].digest
    another = {"x": folders["tiny-sentencepiece"]}
    for models, tasks, precision in ((one, other, "float32"), (one, task, "bfloat16"), (another, task, "float32")):
        _, lines = score(models, tasks, tmp_path / "kept", precision)
        assert not any(line.endswith("kept") for line in lines)


def test_models_are_found_before_anything_is_scored(smoke, tmp_path, monkeypatch):
    p = smoke("05_benchmark_eval", "base")
    assert list(find_models(p, ["parents"])) == ["base"]
    folder = fetch_asset("tiny-sentencepiece")
    assert list(find_models(p, [str(folder), "base"])) == [str(folder), "base"]
    monkeypatch.setattr("blossom.common.runs.require_model", lambda p, stage: folder if p.recipe != "base" else None)
    p = smoke("05_benchmark_eval", "blossom-bi-biSFT")
    assert list(find_models(p, ["parents"])) == ["base", "blossom-bi", "blossom-bi-biSFT"]


def test_a_comparator_without_a_network_says_what_to_do(smoke):
    with pytest.raises(RuntimeError, match="EleutherAI/polyglot-ko-12.8b could not be fetched.*\n.*folder's path"):
        find_models(smoke("05_benchmark_eval", "base"), ["polyglot-ko-12.8b"])


def test_every_comparator_of_the_papers_has_a_hub_id():
    rows = {"table6": set(paper_table6()), "cross-lingual": set(paper_x_tables())}
    listed = {paper: {c["row"] for c in read_comparators().values() if c["paper"] == paper} for paper in rows}
    ours = {"Llama2-koSFT", "Llama2-ko", "Blossom-ko", "Blossom-bi", "Blossom-bi-koSFT", "Blossom-bi-biSFT", "Ours"}
    assert listed["table6"] == rows["table6"] - ours and listed["cross-lingual"] == rows["cross-lingual"] - ours
    assert all(c["hub"].count("/") == 1 for c in read_comparators().values())


def answered(rights, task="klue_sts"):
    return [{"task": task, "id": str(n), "acc": float(right)} for n, right in enumerate(rights)]


def asked(name):
    """What `compare_scores` reads of a prepared task."""
    return SimpleNamespace(name=name, settings={"score": "acc"}, is_macro=False)


def test_pairing_finds_what_two_intervals_would_not():
    before = np.random.default_rng(0).random(200) < 0.5
    after = before.copy()
    after[np.flatnonzero(~before)[:14]] = True  # 14 items more, none lost
    row = compare_scores([asked("klue_sts")], answered(before), answered(after)).iloc[0]
    assert row.difference == pytest.approx(0.07) and row.significant
    assert row.low > 0 and row.high - row.low < 2 * 1.96 * np.sqrt(2 * 0.25 / 200)


def test_a_model_does_not_differ_from_itself(folders, prepared, tmp_path):
    result = score({"a": folders["tiny-byte-level"]}, prepared, tmp_path)[0]["a"]
    table = compare_scores(prepared, result["items"], result["items"])
    assert (table.difference == 0).all() and (table.p_holm == 1).all() and not table.significant.any()
    assert list(table.task) == ["klue_sts", "kobest_copa", "consistency_ko", "consistency_en", "josa", "average"]
    found = table.set_index("task").before
    assert found["kobest_copa"] == pytest.approx(result["tasks"]["kobest_copa"]["score"])  # macro-F1, as lm-eval has it
    agreement = measure_consistency(result["items"])
    assert agreement["items"] == 8 and sum(agreement[k] for k in ("both_right", "ko_only", "en_only", "both_wrong")) == 1


def test_differences_of_noise_are_rarely_significant():
    rng, found = np.random.default_rng(1), 0
    for _ in range(100):
        pairs = [answered(rng.random(60) < 0.5) for _ in range(2)]
        found += compare_scores([asked("klue_sts")], *pairs, times=500).significant.iloc[0]
    assert found <= 11  # 5 expected; more than 11 has a probability of 0.4 %


def test_the_average_has_an_interval_of_its_own():
    tasks = ["klue_sts", "klue_nli"]
    before, after = ([i for t in tasks for i in answered([n < right for n in range(60)], t)] for right in (30, 45))
    table = compare_scores([asked(t) for t in tasks], before, after).set_index("task")
    assert table.difference["average"] == pytest.approx(0.25) and table["items"]["average"] == 120
    widths = table.high - table.low
    assert widths["average"] < widths["klue_sts"]


def test_models_that_answered_other_items_are_not_compared():
    with pytest.raises(ValueError, match="klue_sts: the two models answered 3 and 2 items that are not the same"):
        compare_scores([asked("klue_sts")], answered([1, 0, 1]), answered([1, 0]))


def test_holm_and_wilson_are_the_textbooks():
    assert comparing.adjust_holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert comparing.adjust_holm([0.9, 0.8]) == pytest.approx([1, 1])
    low, high = wilson_interval(np.array([0.5, 1.0]), np.array([10, 10]))
    assert low == pytest.approx([0.2366, 0.7225], abs=1e-3) and high == pytest.approx([0.7634, 1.0], abs=1e-3)


SOURCE, REFERENCE = "The museum is closed on Mondays.", "박물관은 월요일에 쉽니다."


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        ("박물관은 월요일에 쉽니다.", set()),
        ("", {"empty"}),
        (" ...\n", {"empty"}),
        ("The museum is closed on Mondays", {"copies"}),
        ("박물관은 closed on Mondays.", {"partial"}),
        ("박물관은", {"partial"}),
        ("박물관은 월요일에 쉽니다.\n박물관은 월요일에 쉽니다.", {"repeats"}),
        ("박물관은 월요일에 쉽니다. The museum is closed on Mondays.", {"repeats", "partial"}),
        ("월요일에는 월요일에는 월요일에는 월요일에는 월요일에는 월요일에는", {"repeats"}),
        ("I do not know what you mean.", {"wrong_language"}),
    ],
)
def test_a_translations_failures_are_told(answer, kinds):
    found = utils.to_korean({"en": SOURCE, "ko": REFERENCE}, [answer])
    assert {k for k in ("empty", "copies", "partial", "repeats", "wrong_language") if found[k]} == kinds


def test_bleu_and_chrf_are_sacrebleus():
    import sacrebleu

    pairs = [
        (REFERENCE, "박물관은 월요일에 쉰다."),
        ("기차는 십 분 뒤에 출발합니다.", "기차는 십 분 뒤에 출발합니다."),
        ("비가 온다.", ""),
    ]
    answers, references = [a for _, a in pairs], [[r for r, _ in pairs]]
    assert utils.bleu(pairs) == pytest.approx(sacrebleu.corpus_bleu(answers, references).score / 100)
    assert utils.chrf(pairs) == pytest.approx(sacrebleu.corpus_chrf(answers, references).score / 100)
    items = [{"answer": a, "reference": r} for r, a in pairs]
    for metric, whole in (("bleu", utils.bleu), ("chrf", utils.chrf)):
        draws = np.array([[0, 1, 2], [1, 1, 2]])
        found = statistics.item_statistic(metric, items)(draws)
        assert found == pytest.approx([whole([pairs[i] for i in draw]) for draw in draws])


def test_an_answers_language_is_told():
    answers = {"The capital is Paris.": ("own_language", 0), "프랑스의 수도는 파리입니다.": ("other_language", 1)}
    answers |= {"The capital of France is 파리입니다": ("mixed", 1 / 6), "  ": ("empty", 0)}
    for answer, (kind, switching) in answers.items():
        found = utils.answers_en({"en": "What is the capital of France?"}, [answer])
        kinds = [k for k in ("own_language", "other_language", "mixed", "empty") if found[k]]
        assert kinds == [kind] and found["code_switching"] == pytest.approx(switching), answer


def test_table_6_is_written_down_without_slips():
    table = paper_table6()
    assert len(table) == 12 and all(list(row) == [*PAPER_TASKS, "average"] for row in table.values())
    for model, row in table.items():  # the paper cuts some averages instead of rounding them
        assert np.mean([row[t] for t in PAPER_TASKS]) == pytest.approx(row["average"], abs=0.09), model
    assert table[paper_model("blossom-bi")]["average"] == 58.6 and paper_model("cross-lingual") is None


def test_the_papers_rows_stand_above_ours():
    table = tabulate_table6({"mine": {"klue_nli": {"score": 0.4}, "kobest_copa": {"score": 0.6}, "josa": {"score": 1.0}}})
    assert len(table) == 13 and table.loc[("the paper", "Llama2"), "AVG"] == 53.1
    assert table.loc[("this run", "mine")].dropna().to_dict() == {"NLI": 40, "COPA": 60, "AVG": 50}
    table = tabulate_paper_x({"mine": {"en_ko": {"score": 0.1}}, "other": {"klue_nli": {"score": 1}}})
    assert list(table.loc["this run"].index) == ["mine"] and table.loc[("the paper", "Ours"), "en_ko"] == 0.111


def test_josa_is_told_by_pair(prepared):
    rows = next(p for p in prepared if p.name == "josa").rows
    table = tabulate_josa([{"task": "josa", "id": r["id"], "acc": 1.0} for r in rows], prepared)
    assert table["items"].iloc[-1] == len(rows) == table["items"].iloc[:-1].sum() and table.pair.iloc[-1] == "all"
    assert (table.right == 1).all() and (table.low < 1).all()
