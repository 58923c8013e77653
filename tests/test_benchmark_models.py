"""Several models on the same items: kept scores, texts, retrieval, paired differences, written answers, tables."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from blossom.assets.registry import fetch_asset
from blossom.benchmark import comparing, evaluation, papers, statistics, suite, texts
from blossom.benchmark.tasks import utils
from blossom.models import loading
from blossom.models.bits import cut_text, document_nats, start_token
from blossom.text.corpus import read_corpus, read_documents
from tests.cases import read_cases

CASES = read_cases(__file__)
FOLDERS = {name: fetch_asset(name) for name in ("tiny-byte-level", "tiny-sentencepiece")}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return suite.prepare_tasks(["klue_sts", "kobest_copa", "minimal_pairs_ko"], tmp_path_factory.mktemp("tasks"), items=8)


def score(folders, prepared, kept, precision="float32", **texts):
    """(results of `score_models`, the lines that it showed)."""
    lines = []
    return evaluation.score_models(folders, prepared, kept, precision, show=lines.append, **texts), lines


def test_a_second_report_costs_nothing(prepared, tmp_path, monkeypatch):
    texts = {"texts": {"general_korean": ["비가 온다.", "밥을 먹었다."]}, "english": ["It rains.", "I had a meal."]}
    first, _ = score(FOLDERS, prepared, tmp_path, **texts)
    monkeypatch.setattr("blossom.benchmark.evaluation.load_model", lambda *a: pytest.fail("a model was loaded again"))
    again, lines = score(FOLDERS, prepared, tmp_path, **texts)
    assert again == first and len(lines) == len(FOLDERS) * 4 and all(line.endswith("kept") for line in lines)
    for found in first.values():
        assert found["texts"]["general_korean"]["bytes"] == 31 and found["texts"]["general_korean"]["bits_per_byte"] > 1
        tasks = [i["task"] for i in found["items"][24:]]
        assert tasks == ["general_korean"] * 2 + ["retrieve_english"] * 2 + ["retrieve_korean"] * 2


def test_a_translation_is_found_among_distractors():
    likeness = torch.eye(40) + 0.1 * torch.rand(40, 40, generator=torch.manual_seed(0))
    assert [*texts.rank_translations(likeness)] == [1] * 40
    assert [*texts.rank_translations(-likeness)] == [32] * 40, "the least alike of 32"
    assert {*texts.rank_translations(torch.zeros(5, 5))} == {5}, "a tie is not found"
    states = torch.randn(6, 4, generator=torch.manual_seed(0))
    assert texts.compare_states(states + 9, 2 * states - 5).diagonal() == pytest.approx(torch.ones(6).numpy(), abs=1e-5)


@pytest.mark.parametrize("capped", [False, True])
def test_the_states_of_a_document_do_not_depend_on_the_others(capped):
    model, tokenizer = loading.load_model(FOLDERS["tiny-byte-level"], torch.float32)
    model.head_scale = None if capped else 1.0  # a model that caps its logits is read row by row
    lines = ["The kettle is on the stove.", "비가 온다.", "It rains and rains, and the river rises. " * 99 + "비가 온다."]
    with texts.middle_states(model, lines) as (found, keep):
        document_nats(model, tokenizer, lines, seen=keep)
    layers, longest = model.config.num_hidden_layers, min(2048, model.config.max_position_embeddings) - 1
    for line, mean in zip(lines, found, strict=True):
        parts = [tokenizer(part, add_special_tokens=False).input_ids for part in cut_text(line, longest)]
        read = [model(torch.tensor([[start_token(tokenizer), *ids]]), output_hidden_states=True) for ids in parts]
        states = torch.cat([one.hidden_states[3 * layers // 5][0, 1:-1] for one in read]).mean(0)
        assert mean.tolist() == pytest.approx(states.tolist(), abs=1e-4)


@pytest.mark.parametrize(("english", "told"), CASES["not translations"])
def test_a_translation_of_another_text_is_refused_and_with_few_documents_none_is_looked_for(smoke, tmp_path, english, told):
    if english == "in another order":
        (file := tmp_path / "english.txt").write_text("\n".join(sorted(read_documents("general-ko-en"))), encoding="utf-8")
        english = str(file)
    p = smoke("05_benchmark_eval", "base", parallel_english=english, documents=32)
    corpus = read_corpus(p)
    with pytest.raises(ValueError, match=told):
        texts.draw_texts(p, corpus)
    asked = (replace(p, documents=31), replace(p, parallel_english="general-ko-en"))
    assert [len(texts.draw_texts(own, corpus)[1]) for own in asked] == [0, 32]


def test_a_run_that_dies_keeps_its_finished_tasks_and_a_damaged_record_is_made_again(prepared, tmp_path):
    one = {"tiny": FOLDERS["tiny-byte-level"]}

    def dying(line):
        if "kobest_copa" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluation.score_models(one, prepared, tmp_path, "float32", show=dying)
    (file,) = tmp_path.rglob("klue_sts-*.json")
    file.write_text('{"score": ')
    _, lines = score(one, prepared, tmp_path)
    assert [line.split()[1] for line in lines if line.endswith("kept")] == ["kobest_copa"]
    assert json.loads(file.read_text())["score"]["items"] == 8
    file.write_text(file.read_text().replace('"items": 8', '"items": 9'))
    assert sum(line.endswith("kept") for line in score(one, prepared, tmp_path)[1]) == 2, "one was edited"


def test_another_row_weight_or_precision_is_scored_anew(prepared, tmp_path):
    one, task = {"tiny": FOLDERS["tiny-byte-level"]}, prepared[:1]
    score(one, task, tmp_path / "kept")
    (again,) = score(one, [replace(task[0], origin="another folder")], tmp_path / "kept")[0].values()
    assert again["tasks"][task[0].name]["origin"] == "another folder", "of the same rows"
    assert suite.prepare_tasks(["klue_sts"], tmp_path / "elsewhere", items=8)[0].digest == task[0].digest
    other = suite.prepare_tasks(["klue_sts"], tmp_path / "tasks", items=8, seed=1)
    assert other[0].prompt_hash == task[0].prompt_hash and other[0].digest != task[0].digest
    another = {"x": FOLDERS["tiny-sentencepiece"]}
    for models, tasks, precision in ((one, other, "float32"), (one, task, "bfloat16"), (another, task, "float32")):
        _, lines = score(models, tasks, tmp_path / "kept", precision)
        assert not any(line.endswith("kept") for line in lines)


def test_models_are_found_before_anything_is_scored_or_it_is_said_what_to_do(smoke, tmp_path, monkeypatch):
    p = smoke("05_benchmark_eval", "base")
    assert list(evaluation.find_models(p, ["parents"])) == ["base"]
    with pytest.raises(RuntimeError, match="EleutherAI/polyglot-ko-12.8b could not be fetched.*\n.*folder's path"):
        evaluation.find_models(p, ["polyglot-ko-12.8b"])
    folder = fetch_asset("tiny-sentencepiece")
    assert list(evaluation.find_models(p, [str(folder), "base"])) == [str(folder), "base"]
    monkeypatch.setattr("blossom.common.runs.require_model", lambda p, stage: folder if p.recipe != "base" else None)
    p = smoke("05_benchmark_eval", "blossom-bi-biSFT")
    assert list(evaluation.find_models(p, ["parents"])) == ["base", "blossom-bi", "blossom-bi-biSFT"]


def test_every_comparator_of_the_papers_has_a_hub_id():
    rows = {"table6": set(papers.paper_table6()), "cross-lingual": set(papers.paper_x_tables())}
    listed = {paper: {c["row"] for c in evaluation.read_comparators().values() if c["paper"] == paper} for paper in rows}
    ours = {"Llama2-koSFT", "Llama2-ko", "Blossom-ko", "Blossom-bi", "Blossom-bi-koSFT", "Blossom-bi-biSFT", "Ours"}
    assert listed["table6"] == rows["table6"] - ours and listed["cross-lingual"] == rows["cross-lingual"] - ours
    assert all(c["hub"].count("/") == 1 for c in evaluation.read_comparators().values())


def answered(rights, task="klue_sts"):
    return [{"task": task, "id": str(n), "acc": float(right)} for n, right in enumerate(rights)]


def documents(nats, task="general_korean"):
    return [{"task": task, "item": n, "nats": float(x), "bytes": 10 + n} for n, x in enumerate(nats)]


def test_pairing_finds_what_two_intervals_would_not():
    before = np.random.default_rng(0).random(200) < 0.5
    after = before.copy()
    after[np.flatnonzero(~before)[:14]] = True  # 14 items more, none lost
    row = comparing.compare_models(*(answered(x, "minimal_pairs_ko") for x in (before, after))).iloc[0]
    assert row.difference == pytest.approx(0.07) and row.decided and row.primary
    assert row.low > 0 and row.high - row.low < 2 * 1.96 * np.sqrt(2 * 0.25 / 200)


def test_only_primary_measures_decide_and_a_constant_answer_leaves_their_family():
    chosen = [i | {"choice": 0} for i in answered([1, 0] * 30, "minimal_pairs_ko")]
    better = [i | {"choice": n % 2} for n, i in enumerate(answered([1] * 60, "minimal_pairs_ko"))]
    one = [*documents([50] * 40), *documents([50] * 40, "general_english"), *answered([0] * 60), *chosen]
    two = [*documents([45] * 40), *documents([50] * 40, "general_english"), *answered([1] * 60), *better]
    table = comparing.compare_models(one, two).set_index("measure")
    bits = table.loc["general_korean"]  # a document has 10 to 49 bytes
    assert [bits.before, bits.after] == pytest.approx([40 * nats / np.log(2) / 1180 for nats in (50, 45)])
    assert bits.low < bits.difference < bits.high < 0 and bits.metric == "bits_per_byte"
    assert list(table.index) == [*comparing.PRIMARY, "klue_sts"]
    assert table.constant.to_dict() == {name: name == "minimal_pairs_ko" for name in table.index}
    assert table.p_holm.isna().tolist() == [False, True, False, True]  # two tests, not three or four
    assert table.p_holm["general_korean"] == pytest.approx(2 * table.p["general_korean"])
    assert table.decided.tolist() == [True, False, False, False] and table.low["klue_sts"] == 1


def test_a_model_does_not_differ_from_itself(prepared, tmp_path):
    result = score({"a": FOLDERS["tiny-byte-level"]}, prepared, tmp_path)[0]["a"]
    table = comparing.compare_models(result["items"], result["items"])
    assert (table.difference == 0).all() and (table.p == 1).all() and not table.decided.any()
    assert list(table.measure) == ["minimal_pairs_ko", "klue_sts", "kobest_copa", "average of 2 tasks"]
    found = table.set_index("measure").before
    assert found["kobest_copa"] == pytest.approx(result["tasks"]["kobest_copa"]["score"])  # macro-F1, as lm-eval has it


def test_differences_of_noise_are_rarely_decided():
    rng, found = np.random.default_rng(1), 0
    for _ in range(100):
        pairs = [answered(rng.random(60) < 0.5, "minimal_pairs_ko") for _ in range(2)]
        found += comparing.compare_models(*pairs, times=500).decided.iloc[0]
    assert found <= 11  # 5 expected; more than 11 has a probability of 0.4 %


def test_the_average_has_an_interval_of_its_own():
    tasks = suite.PAPER_TASKS[:2]
    before, after = ([i for t in tasks for i in answered([n < right for n in range(60)], t)] for right in (30, 45))
    table = comparing.compare_models(before, after).set_index("measure").rename({"average of 2 tasks": "average"})
    assert table.difference["average"] == pytest.approx(0.25) and table["items"]["average"] == 120
    widths = table.high - table.low
    assert widths["average"] < widths["klue_sts"]
    few = [comparing.compare_models(answered([0] * n), answered([1] * n)).iloc[0] for n in (5, 6)]
    assert [(row.p > 0.05, row.low) for row in few] == [(True, 0), (False, 1)], "an interval and its p say the same"
    one, two = (answered([right] * 5 + [0] * 95) for right in (0, 1))  # items that both answer alike say nothing
    assert comparing.compare_models(one, two).p[0] == 0.0625, "of a sign test of 5 items; the bootstrap's is 0.01"


def test_the_bootstrap_of_few_items_has_the_t_interval_s_width():
    values = np.random.default_rng(1).normal(size=12)
    draws = values[statistics.draw_items(12, 20_000)].mean(1)
    found = np.quantile(statistics.widen_draws(draws, values.mean(), 12), (0.025, 0.975))
    assert found == pytest.approx(stats.t.interval(0.95, 11, values.mean(), stats.sem(values)), abs=0.05)


def test_models_that_answered_other_items_are_not_compared():
    with pytest.raises(ValueError, match="klue_sts: the two models answered 3 and 2 items that are not the same"):
        comparing.compare_models(answered([1, 0, 1]), answered([1, 0]))
    one, two = ([i | {"digest": d} for i in answered([1, 0])] for d in ("a", "b"))
    assert len(comparing.compare_models(one, answered([1, 0]))) == 1, "earlier items have no digest"
    with pytest.raises(ValueError, match="klue_sts: the two models read other rows or prompts"):
        comparing.compare_models(one, two)


def test_holm_and_wilson_are_the_textbooks():
    assert comparing.adjust_holm([0.01, 0.04, 0.03, 0.5]).tolist() == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert comparing.adjust_holm([0.9, 0.8]).tolist() == pytest.approx([1, 1])
    low, high = statistics.wilson_interval(np.array([0.5, 1.0]), np.array([10, 10]))
    assert low == pytest.approx([0.2366, 0.7225], abs=1e-3) and high == pytest.approx([0.7634, 1.0], abs=1e-3)
    none, every = (statistics.wilson_interval(np.full(699, share), np.arange(1, 700)) for share in (0.0, 1.0))
    assert (every[1] == 1).all() and (none[0] == 0).all()


SOURCE, REFERENCE = "The museum is closed on Mondays.", "박물관은 월요일에 쉽니다."


@pytest.mark.parametrize(("answer", "kinds"), CASES["translations"])
def test_a_translations_failures_are_told(answer, kinds):
    found = utils.to_korean({"en": SOURCE, "ko": REFERENCE}, [answer])
    assert {k for k in ("empty", "copies", "partial", "repeats", "wrong_language") if found[k]} == {*kinds}


def test_bleu_and_chrf_are_sacrebleus():
    import sacrebleu

    pairs = [tuple(pair) for pair in CASES["pairs"]]
    answers, references = [a for _, a in pairs], [[r for r, _ in pairs]]
    assert utils.bleu(pairs) == pytest.approx(sacrebleu.corpus_bleu(answers, references).score / 100)
    assert utils.chrf(pairs) == pytest.approx(sacrebleu.corpus_chrf(answers, references).score / 100)
    items = [{"answer": a, "reference": r} for r, a in pairs]
    for metric, whole in (("bleu", utils.bleu), ("chrf", utils.chrf)):
        draws = np.array([[0, 1, 2], [1, 1, 2]])
        found = statistics.item_statistic(metric, items)(draws)
        assert found == pytest.approx([whole([pairs[i] for i in draw]) for draw in draws])


def test_table_6_is_written_down_without_slips():
    table = papers.paper_table6()
    assert len(table) == 12 and all(list(row) == [*suite.PAPER_TASKS, "average"] for row in table.values())
    for model, row in table.items():  # the paper cuts some averages instead of rounding them
        assert np.mean([row[t] for t in suite.PAPER_TASKS]) == pytest.approx(row["average"], abs=0.09), model
    assert table[papers.paper_model("blossom-bi")]["average"] == 58.6 and papers.paper_model("cross-lingual") is None


def test_the_papers_rows_stand_above_ours():
    scores = {"klue_nli": 0.4, "kobest_copa": 0.6, "copy_pattern": 1.0}
    table = papers.tabulate_table6({"mine": {task: {"score": score} for task, score in scores.items()}})
    assert len(table) == 13 and table.loc[("the paper", "Llama2"), "AVG"] == 53.1
    assert table.loc[("this run", "mine")].dropna().to_dict() == {"NLI": 40, "COPA": 60}, "no average of two"
    table = papers.tabulate_paper_x({"mine": {"en_ko": {"score": 0.1}}, "other": {"klue_nli": {"score": 1}}})
    assert list(table.loc["this run"].index) == ["mine"] and table.loc[("the paper", "paper X"), "en_ko"] == 0.111


def test_accuracy_is_told_by_phenomenon():
    items = [{"task": "x", "phenomenon": name, "acc": acc} for name, acc in (("josa", 1.0), ("case", 0.0), ("josa", 0.0))]
    table = statistics.tabulate_accuracy([*items, {"task": "y", "acc": 1.0}])
    assert table[["phenomenon", "items", "right"]].to_numpy().tolist() == [["josa", 2, 0.5], ["case", 1, 0.0]]
    assert (table.low >= 0).all() and (table.low < table.right.clip(0.01)).all() and (table.high > table.right).all()
