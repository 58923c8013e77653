"""Tasks, rows and scoring of stage 05: prompts as the papers', scores as lm-eval's."""

import gzip
import json
import re
import warnings
from types import SimpleNamespace

import lm_eval
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import LlamaForCausalLM

from blossom.assets.registry import fetch_asset
from blossom.benchmark import evaluation, papers, scoring, statistics, suite
from blossom.benchmark.rows import check_task_rows, read_task_rows
from blossom.common import paths
from blossom.models import bits, loading
from tests.cases import read_cases

CASES = read_cases(__file__)
TINY = loading.load_model("tiny-byte-level", torch.float32)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return {p.name: p for p in suite.prepare_tasks(suite.task_names(), tmp_path_factory.mktemp("tasks"))}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    made = suite.prepare_tasks(suite.task_names(), tmp_path_factory.mktemp("tasks"), items=6)
    return {p.name: p for p in made if not p.generates}


def test_prompts_and_metrics_are_the_papers(prepared):
    for task, (text, choices) in CASES["prompts"].items():
        assert prepared[task].prompt[0] == (text, tuple(choices))
    assert prepared["kobest_copa"].prompt[1][0] == "{premise} 그래서"
    row = {"premise": "비가 온다.", "hypothesis": "땅이 젖는다. ", "label": 0}  # gets no second full stop
    expected = CASES["prompts"]["klue_nli"][0].format(premise="비가 온다.", hypothesis="땅이 젖는다")
    assert prepared["klue_nli"].task.doc_to_text(row) == expected
    assert len({p.prompt_hash for p in prepared.values()}) == len(prepared) - 1  # minimal pairs have no prompt
    metrics = papers.read_papers()["bllossom"]["table6"]["metrics"]
    assert {task: prepared[task].settings["score"] for task in suite.PAPER_TASKS} == metrics


@pytest.mark.parametrize("task", CASES["shipped"])
def test_a_shipped_task_renders_items_as_lm_eval_does(prepared, task):
    import lm_eval.tasks
    from lm_eval.tasks._yaml_loader import load_yaml

    p = prepared[task]
    theirs = load_yaml(paths.Path(lm_eval.tasks.__file__).parent / p.settings["shipped"])
    for key in ("doc_to_text", "doc_to_target", "doc_to_choice", "process_docs"):
        ours, shipped = getattr(p.task.config, key), theirs.get(key)
        assert getattr(ours, "__code__", ours) == getattr(shipped, "__code__", shipped), key


@pytest.mark.parametrize("task", [t for t in suite.task_names() if t not in suite.GROUPS["translation"]])
def test_an_authored_mini_set_is_balanced(prepared, task):
    p = prepared[task]
    shares = np.bincount(p.labels) / len(p.rows)
    assert len(p.rows) >= 32 and p.origin.startswith("data/benchmarks/")
    assert shares.max() - shares.min() < 0.04
    assert len({r["id"] for r in p.rows}) == len({json.dumps(r, sort_keys=True) for r in p.rows}) == len(p.rows)


def measure_cues(text, seen):
    """Numbers of a text (and of the context seen with it) that a rule can use without understanding either."""
    # Korean words by their first two syllables, which leaves most josa out
    words, known = ({w[:2] if w > "가" else w for w in re.findall(r"\w+", t.lower())} for t in (text, seen))
    cues = {"characters": len(text), "words": len(text.split()), "words of the context": len(words & known)}
    cues |= {"negation": len(re.findall(r"[없않못안]|n't\b|\b(?:no|not|never)\b", text)), "first letter": ord(text[0])}
    return cues | {"punctuation": len(re.findall(r"[^\w\s]", text)), "last letter": ord(re.sub(r"\W", "", text)[-1])}


def share_won(values, labels):
    """Share of items that the best rule on one cue gets right: most or least of the choices, or a threshold for one text."""
    if values.shape[1] > 1:
        best = [values == extreme(values, 1, keepdims=True) for extreme in (np.max, np.min)]
        return max((b[np.arange(len(labels)), labels] / b.sum(1)).mean() for b in best)
    values = values[:, 0]
    sides = values > 0, values > np.median(values), values >= np.median(values)
    return max(sum(np.bincount(labels[s]).max(initial=0) for s in (side, ~side)) for side in sides) / len(labels)


MINI_SETS = {file.stem for file in (paths.ROOT / "data/benchmarks").glob("*.jsonl")}


@pytest.mark.parametrize("task", sorted(MINI_SETS - {"translation", *suite.GROUPS["minimal_pairs"]}))
def test_no_rule_on_one_cue_beats_chance_by_a_tenth(prepared, task):
    p = prepared[task]  # not of minimal pairs, which differ in one word on purpose: the next test has their length and place
    labels, (first, *asked), found = np.array([int(label) for label in p.labels]), CASES["asked"][task], []
    for row in p.rows:
        texts = row[asked[0]] if isinstance(row[asked[0]], list) else [row[column] for column in asked]
        found.append([measure_cues(text, row[first]) for text in texts])
    won = {cue: share_won(np.array([[text[cue] for text in texts] for texts in found]), labels) for cue in found[0][0]}
    limit = np.bincount(labels).max() / len(labels) + 0.1
    assert {cue: round(float(share), 2) for cue, share in won.items() if share > limit} == {}


@pytest.mark.parametrize(("language", "phenomena", "least"), [("ko", 10, 64), ("en", 6, 60)])
def test_no_length_and_no_place_gives_a_minimal_pair_away(prepared, language, phenomena, least):
    p = prepared[f"minimal_pairs_{language}"]
    found = {}  # phenomenon -> for each pair: label, characters and bytes that the right sentence has more
    for row, label in zip(p.rows, p.labels, strict=True):
        good, bad = (p.task.doc_to_choice(row)[n] for n in (label, 1 - label))
        assert (good, bad) == (row["good"], row["bad"])
        gaps = len(good) - len(bad), len(good.encode()) - len(bad.encode())
        found.setdefault(row["phenomenon"], []).append([label, *gaps])
    assert len(found) == phenomena and min(map(len, found.values())) >= least
    for phenomenon, rows in found.items():
        labels, *gaps = np.array(rows).T
        shares = [labels.mean(), 1 - labels.mean(), *(share.mean() for gap in gaps for share in (gap < 0, gap > 0))]
        assert max(shares) <= 0.6, phenomenon


def test_a_copied_pattern_stands_in_its_prompt_once(prepared):
    places = []
    for row in prepared["copy_pattern"].rows:
        *pairs, asked = row["prompt"].split("\n")
        known = dict(pair.split(": ") for pair in pairs)
        assert len(known) == 6 and len({*known, *known.values()}) == 12, row
        assert known[asked.removesuffix(":")] == row["choices"][row["label"]] and {*row["choices"]} < {*known.values()}
        places.append(list(known).index(asked.removesuffix(":")))
    assert np.ptp(np.bincount(places)) == 0, "every place is asked for equally often"


@pytest.mark.parametrize(("name", "file", "hub"), CASES["rows"])
def test_files_and_hub_give_the_same_row(name, file, hub):
    for record in (file, hub):
        (row,) = check_task_rows(name, [("line 1", record)], "x")
        assert {k: v for k, v in row.items() if k != "id"} == hub


@pytest.mark.parametrize(("name", "record", "word"), CASES["wrong_rows"])
def test_a_wrong_value_is_named(name, record, word):
    with pytest.raises(ValueError, match=f"line 7: {name}: .*{word}"):
        check_task_rows(name, [("line 7", record)], "x")


def test_a_row_with_equal_choices_is_left_out_and_told(capsys):
    records = [(f"line {n}", {"phenomenon": "a", "good": "b", "bad": bad}) for n, bad in enumerate(["b ", "c"], 1)]
    assert [row["bad"] for row in check_task_rows("minimal_pairs_ko", records, "x")] == ["c"]
    assert "x: minimal_pairs_ko: rows left out for two equal choices: 1, first line 1" in capsys.readouterr().out
    same = {"activity_label": "a", "ctx_a": "b", "endings": ["c", "d", "e", "d"], "label": 0}
    with pytest.raises(ValueError, match="no rows"):
        check_task_rows("hellaswag_en", [("line 1", same)], "x")


def test_a_wrong_row_is_named_and_nothing_is_written(tmp_path):
    rows = [{"premise": "가", "hypothesis": "나", "gold_label": "neutral"}, {"premise": 3}]
    (tmp_path / "klue_nli.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(ValueError, match="row 2.*premise.*found 3"):
        suite.prepare_tasks(["klue_nli"], tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_quote_in_a_review_is_a_character_and_a_review_without_text_is_left_out(tmp_path):
    text = 'id\tdocument\tlabel\n1\t"이게 영화냐\t0\n2\t좋다"\t1\n3\t\t0\n'
    (tmp_path / "nsmc.tsv").write_text(text, encoding="utf-8")
    assert [r["document"] for r in read_task_rows("nsmc", tmp_path)[0]] == ['"이게 영화냐', '좋다"']
    hub = [("row 1", {"document": None, "label": 0}), ("row 2", {"document": "a", "label": 0})]
    assert [r["document"] for r in check_task_rows("nsmc", hub, "hub")] == ["a"]


def test_two_files_that_could_be_a_task_are_named(tmp_path):
    for name in ("a_nli_dev.json", "b_nli_dev.json"):
        (tmp_path / name).write_text("[]")
    with pytest.raises(ValueError, match="several files could be klue_nli: a_nli_dev.json, b_nli_dev.json"):
        read_task_rows("klue_nli", tmp_path)


@pytest.mark.parametrize("others", [["kosbi_v2_test.json", "._kosbi_test.json"], ["kosbi_valid.json"]])
def test_of_several_files_the_one_of_the_exact_name_is_read(tmp_path, others):
    row = {"context": "가", "sentence": "나", "sentence_label": "safe"}
    for name in ("kosbi_test.json", *others):
        (tmp_path / name).write_text(json.dumps([row | {"context": name}]))
    assert read_task_rows("kosbi", tmp_path)[0][0]["context"] == "kosbi_test.json"
    with gzip.open(tmp_path / "KOSBI.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(row))
    assert read_task_rows("kosbi", tmp_path)[0][0]["context"] == "가"


def test_a_url_without_a_network_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("BLOSSOM_CACHE", str(tmp_path))
    message = "(?s)^https://raw.githubusercontent.com.*kosbi_test.json could not be fetched.*prefetch"
    with pytest.raises(RuntimeError, match=message):
        read_task_rows("kosbi", "hub")


def test_items_are_drawn_by_the_seed_and_kept_in_order(tmp_path):
    everything = [r["id"] for r in read_task_rows("klue_sts")[0]]
    made = (suite.prepare_tasks(["klue_sts"], tmp_path, items=9, seed=seed)[0] for seed in (0, 0, 1))
    one, again, other = ([row["id"] for row in p.rows] for p in made)
    assert one == again != other and one == [i for i in everything if i in one]
    assert [len(p.rows) for p in suite.prepare_tasks(["nsmc", "klue_sts"], tmp_path, items=6, written_items=3)] == [3, 6]


def requests_of(lm, p):
    p.task.build_all_requests(rank=0, world_size=1)
    return lm.loglikelihood(p.task.instances, disable_tqdm=True)


def plain_lm(model, tokenizer):
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, prefix_token_id=bits.start_token(tokenizer))


@pytest.mark.parametrize("name", ["tiny-byte-level", "tiny-sentencepiece"])
def test_shared_prefixes_change_no_likelihood(few, name):
    model, tokenizer = loading.load_model(name, torch.float32)
    lm, plain = scoring.SharedPrefixLM(model, tokenizer, tokens=300), plain_lm(model, tokenizer)
    assert lm.shares
    assert tokenizer.eos_token_id not in lm.tok_encode(f"a {tokenizer.eos_token}")  # of a question's own text
    for p in few.values():
        theirs, ours = requests_of(plain, p), requests_of(lm, p)
        assert np.allclose([a for a, _ in theirs], [a for a, _ in ours], rtol=1e-5, atol=1e-3), p.name
        assert [g for _, g in theirs] == [g for _, g in ours]


def test_what_does_not_fit_is_cut_on_the_left_as_lm_eval_cuts_it(few):
    p, ours, theirs = few["kobest_hellaswag"], scoring.SharedPrefixLM(*TINY), plain_lm(*TINY)
    ours._max_length = theirs._max_length = 200
    assert np.allclose([a for a, _ in requests_of(ours, p)], [a for a, _ in requests_of(theirs, p)], atol=1e-3)
    assert 0 < evaluation.evaluate_task(p, ours)["score"]["truncated"] < len(p.rows)
    ours._max_length = 20
    with pytest.raises(ValueError, match="choice .* has .* tokens; expected 1 to 20"):
        requests_of(ours, p)


class Forgetful(LlamaForCausalLM):
    def forward(self, input_ids, position_ids=None, attention_mask=None, logits_to_keep=0, use_cache=None):
        return super().forward(input_ids, logits_to_keep=logits_to_keep, use_cache=use_cache)


def test_a_model_that_takes_no_trie_is_scored_plainly(few, monkeypatch):
    model, tokenizer = loading.load_model("tiny-byte-level", torch.float32)
    ignoring = Forgetful.from_pretrained(fetch_asset("tiny-byte-level")).eval()
    model.config.window_size = 30  # hides a trie's ancestors
    monkeypatch.setattr(scoring.SharedPrefixLM, "_score", lambda *_: pytest.fail("read as a trie"))
    for own in (ignoring, model):
        assert len(requests_of(scoring.SharedPrefixLM(own, tokenizer), few["klue_sts"])) == 12


def test_scores_are_lm_evals_own(tmp_path):
    tasks = ["klue_ynat", "kosbi", "kobest_copa", "nsmc", "en_ko"]
    prepared = suite.prepare_tasks(tasks, tmp_path, items=12)
    mine = {p.name: evaluation.evaluate_task(p, scoring.SharedPrefixLM(*TINY)) for p in prepared}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
        about = {"pretrained": str(fetch_asset("tiny-byte-level")), "dtype": "float32"}
        run = {"batch_size": 3, "device": "cpu", "bootstrap_iters": 100}
        theirs = lm_eval.simple_evaluate("hf", about, tasks=tasks, task_manager=manager, **run)
    for task, found in theirs["results"].items():
        own, items = mine[task]["score"], mine[task]["items"]
        for metric, value in found.items():
            name = metric.removesuffix(",none")
            if name != metric and not name.endswith("_stderr"):
                assert own["score" if name == own["metric"] else name] == pytest.approx(value), (task, name)
        for sample, item in zip(sorted(theirs["samples"][task], key=lambda s: s["doc_id"]), items, strict=True):
            if "answer" in item:
                assert item["answer"] == sample["filtered_resps"][0]
            else:
                assert np.allclose([float(r[0]) for r in sample["filtered_resps"]], item["loglikelihoods"], atol=1e-3)
    assert mine["klue_ynat"]["score"]["stderr"] == pytest.approx(theirs["results"]["klue_ynat"]["acc_stderr,none"])


def test_a_score_says_what_it_needs_to_be_compared(prepared):
    p = prepared["kosbi"]
    found = evaluation.evaluate_task(p, scoring.SharedPrefixLM(*TINY))
    assert all(item["metric"] == "f1" for item in found["items"]) and p.constant == found["score"]["constant"]
    expected = {"items": 32, "majority_share": 0.5, "version": "polyglot 0", "prompt_hash": p.prompt_hash, "shots": 0}
    assert expected.items() <= found["score"].items() and len(found["items"]) == 32 and 0 < found["score"]["stderr"] < 0.2
    assert found["score"]["constant"] == pytest.approx(2 / 3)  # answering 예 to everything
    json.dumps(found, allow_nan=False)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30), st.booleans())
@settings(deadline=None)
def test_f1_is_scikit_learns(pairs, macro):
    from sklearn.metrics import f1_score

    right, chosen = (np.array(x) if macro else np.array(x) % 2 for x in zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = f1_score(right, chosen, average="macro" if macro else "binary")
    assert statistics.f1_of_draws(right, chosen, macro) == pytest.approx(expected)


def test_nsmc_counts_an_answer_that_contains_the_right_word(prepared):
    answers = {"긍정입니다.": (1, 1, 0, 0), "부정": (0, 0, 0, 0), "긍정 또는 부정": (1, 0, 0, 1), "": (0, 0, 1, 0)}
    for answer, expected in answers.items():
        found = prepared["nsmc"].task.process_results({"document": "최고", "label": 1}, [answer])
        assert tuple(found[k] for k in ("acc", "acc_strict", "neither", "both")) == expected, answer


def test_the_public_files_are_read(real_files, tmp_path):
    absent = {"copy_pattern"}.union(suite.GROUPS["minimal_pairs"], suite.GROUPS["translation"])
    names = [task for task in suite.task_names() if task not in absent]
    prepared = suite.prepare_tasks(names, tmp_path, real_files / "benchmarks", items=5)
    assert len(prepared) == 12 and all(p.origin.startswith("benchmarks/") for p in prepared)
    counts = {t: len(read_task_rows(t, real_files / "benchmarks")[0]) for t in names if t != "klue_ynat"}
    assert counts["klue_nli"] == 1500 and counts["kobest_boolq"] == 700 and counts["nsmc"] == 5000
    assert counts["kobest_hellaswag"] == counts["kobest_copa"] == counts["copa_en"] == 500
    (tmp_path / "translation.tsv").symlink_to(real_files / "parallel" / "news_dev_en_ko.tsv")  # without a header
    rows, _ = read_task_rows("ko_en", tmp_path)
    assert len(rows) == 1000 and rows[0]["en"].startswith("After keeping the world's most powerful")


def test_shots_come_from_the_training_file(real_files, tmp_path):
    p = suite.prepare_tasks(["kobest_sentineg"], tmp_path, real_files / "benchmarks", items=4, shots=3)[0]
    p.task.build_all_requests(rank=0, world_size=1)
    context = p.task.instances[0].args[0]
    assert context.count("긍부정:") == 4 and context.endswith(f"문장: {p.rows[0]['sentence']} 긍부정:")
    training = {r["sentence"] for r in read_task_rows("kobest_sentineg", real_files / "benchmarks", training=True)[0]}
    assert {line.removeprefix("문장: ").split(" 긍부정:")[0] for line in context.split("\n\n")[:3]} <= training


def test_a_scored_row_is_never_an_example(tmp_path):
    rows = [{"context": f"c{n}", "sentence": f"s{n}", "sentence_label": "safe"} for n in range(6)]
    (tmp_path / "kosbi_test.json").write_text(json.dumps(rows[:4]))
    (tmp_path / "kosbi_train.json").write_text(json.dumps(rows))
    (p,) = suite.prepare_tasks(["kosbi"], tmp_path / "tasks", tmp_path, items=2, shots=2)
    assert {row["sentence"] for row in p.task.fewshot_docs()} == {"s4", "s5"}
    (tmp_path / "kosbi_train.json").write_text(json.dumps(rows[:4]))
    with pytest.raises(ValueError, match="shots: all training rows in .*kosbi_train.json are also scored; set shots to 0"):
        suite.prepare_tasks(["kosbi"], tmp_path / "tasks", tmp_path, shots=2)


def test_every_model_sees_the_examples_that_the_digest_names(tmp_path):
    rows = [{"context": f"c{n}", "sentence": f"s{n}", "sentence_label": "safe"} for n in range(20)]
    (tmp_path / "kosbi_test.json").write_text(json.dumps(rows[:4]))
    (tmp_path / "kosbi_train.json").write_text(json.dumps(rows[4:]))
    (p,) = suite.prepare_tasks(["kosbi"], tmp_path / "tasks", tmp_path, shots=2)
    digest, seen = p.digest, []
    for _ in range(2):
        evaluation.evaluate_task(p, scoring.SharedPrefixLM(*TINY))
        seen.append([instance.args for instance in p.task.instances])
    assert seen[0] == seen[1] and p.digest == digest


def test_sets_that_stage_04_did_not_know_are_listed(tmp_path):
    folder = paths.stage_folder(str(tmp_path), "smoke", "base-koSFT", "04_korean_lima_sft")
    paths.write_text(folder / "params.yaml", "evaluation_texts: [data/benchmarks, 'hub:klue/klue:nli:validation']")
    p = SimpleNamespace(outputs=str(tmp_path), scale="smoke", recipe="base-koSFT", benchmarks="hub")
    origins = ["data/benchmarks/copy_pattern.jsonl", "hub:klue/klue:nli:validation", "hub:klue/klue:sts:validation"]
    assert evaluation.find_unchecked(p, [SimpleNamespace(origin=name) for name in origins]) == origins[2:]
