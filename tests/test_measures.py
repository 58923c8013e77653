"""What is counted in answers, and the prompts they answer."""

import json
import math
from itertools import product

import pandas as pd
import pytest

from blossom.common import paths
from blossom.preference import measures, people, prompts, verdicts
from blossom.text.language import language_of, measure_repetition
from tests.cases import read_cases

CASES = read_cases(__file__)

QUESTION = "서울은 어디에 있나요?"
SPEED = {"steps_per_1000_characters": 577.04, "own_steps_per_1000_characters": 1415.7}


@pytest.mark.parametrize("file", ["text/prose", "text/general_korean", "prompts/prompts", "instructions/ko"])
def test_no_text_of_a_person_is_a_loop(file):
    rows = map(json.loads, (paths.ROOT / f"data/{file}.jsonl").read_text(encoding="utf-8").splitlines())
    assert [(row["id"], key) for row in rows for key, text in row.items() if measure_repetition(str(text))[1]] == []


@pytest.mark.parametrize(("text", "asked", "expected"), CASES["answers"])
def test_what_is_measured_in_an_answer(tmp_path, text, asked, expected):
    (tmp_path / "words.tsv").write_text("입니다\t0.1\n있습니다\t0.1\n", encoding="utf-8")
    starts = measures.collect_starts(["서울은 한국의 수도"], tmp_path / "words.tsv")
    found = measures.measure_answer(text, asked, QUESTION, starts)
    assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_the_table_has_a_row_for_each_model_and_language():
    ours, base = measures.measure_answers([a | {"prompt": QUESTION} for a in CASES["said"]]).to_dict("records")
    assert (ours["answered_in_language"], base["answered_in_language"]) == (0.5, 0)
    assert (ours["empty"], ours["mean_characters"], ours["answers"]) == (0.5, 4, 2)
    assert 0 < ours["empty_low"] < 0.5 < ours["empty_high"] < 1 and math.isnan(ours["nonword"])


def test_models_are_measured_on_as_many_characters_of_an_answer():
    said = [{"model": m, "language": k, "prompt": QUESTION, "answer": t} for m, k, t in CASES["cut"]]
    for room, loops in ((None, 1), ({"ko": 6}, 0)):
        long, short, english = measures.measure_answers(said, (), room).to_dict("records")
        assert (long["loops"], short["loops"], long["mean_characters"]) == (loops, 0, 19) and english["loops"] == 1
    copy = {"model": "long", "language": "ko", "prompt": QUESTION * 4, "answer": QUESTION * 4}
    assert measures.measure_answers([copy], (), {"ko": 12}).copied.item() == 1  # also when cut


@pytest.mark.parametrize(("text", "asked", "expected"), CASES["findings"])
def test_what_the_rules_find_in_an_answer_is_named(text, asked, expected):
    said = {"answer": text, "language": asked, "prompt": QUESTION}
    assert measures.name_findings(said, {"서울", "한국"}) == expected
    (told,) = measures.state_answers(measures.measure_answers([said | {"model": "ours"}]), asked, "its", {"ours": SPEED})
    assert told.startswith("ours, answers to 1 its prompts: in its, not copied ") and ("loop 0% [" in told)
    assert "577 steps" in told and told.endswith("1,416 steps for 1,000 characters of these answers") and "non-w" not in told


def test_the_authored_prompts_have_both_languages_and_every_kind():
    found = prompts.read_prompts("authored-prompts", 24)
    assert [p["language"] for p in found] == ["ko"] * 24 + ["en"] * 24
    assert len(prompts.read_prompts("authored-prompts", 1000)) == 128
    assert [p["prompt_id"] for p in found[:24]] == [p["prompt_id"] for p in found[24:]]
    assert len({p["kind"] for p in found}) == 8 and all(language_of(p["prompt"]) == p["language"] for p in found)


@pytest.mark.parametrize(("row", "language", "kind", "name", "prompt"), CASES["forms"])
def test_the_public_sets_forms_are_read(tmp_path, row, language, kind, name, prompt):
    (file := tmp_path / "set.jsonl").write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    assert prompts.read_prompts(str(file), 5) == [{"prompt_id": name, "kind": kind, "language": language, "prompt": prompt}]


def test_ids_of_prompts_hold_within_a_file(tmp_path):
    for name, text in {"a": "김치찌개는 어떻게 끓이나요?", "b": "서울까지 얼마나 걸리나요?", "c": "Write a poem."}.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": 1, "prompt": text}), encoding="utf-8")
    assert [p["prompt_id"] for p in prompts.read_prompts(str(tmp_path), 5)] == ["1", "b.jsonl:1", "c.jsonl:1"]


SAID = {"ko": "네, 한국어 답변입니다.", "en": "Yes, an English answer."}
MODELS = ("x-biSFT", "x-koSFT", "base")
ANSWERS = [  # all are in the prompt's language, but for those of the model taught in Korean alone
    {"model": m, "prompt_id": f"p{n}", "kind": "code", "language": k, "prompt": "?"}
    | {"answer": SAID["ko" if m == "x-koSFT" else k]}
    for n, k, m in product(range(6), SAID, MODELS)
]
PAIRS = list(people.make_batch(ANSWERS, [(MODELS[0], other) for other in MODELS[1:]]).pairs)


def table(winner, source="people", rater="r"):
    """Verdicts on all pairs; `winner(pair, order)` is a, b or tie."""
    said, orders = {"rater": rater, "source": source, "faulty": True}, "a" if source == "people" else "ab"
    return verdicts.make_verdicts([p | said | {"winner": winner(p, o), "first_shown": o} for p in PAIRS for o in orders])


def drawn(*tables):
    one = verdicts.settle_verdicts(pd.concat(tables, ignore_index=True))
    return {p.name: p for p in verdicts.make_panels(one, MODELS[0], measures.measure_answers(ANSWERS))}


def test_people_and_judge_fill_the_papers_four_figures_and_a_lead_within_its_interval_is_not_claimed():
    got = drawn(table(lambda pair, o: "a"), table(lambda pair, o: "b", "referee", "referee"))
    assert list(got) == ["figure2", "figure3", "figure4_people", "figure4_judge", "figure5_people", "figure5_judge"]
    assert list(got["figure2"].shares.model_b) == ["base"] and set(got["figure2"].shares.language) == {"ko"}
    fourth = got["figure4_judge"].shares
    assert list(fourth.language) == ["ko", "en"] and set(fourth.model_b) == {"x-koSFT"} and "referee" in got["figure3"].title
    assert set(got["figure5_judge"].shares.language) == {"en"} and "people" in got["figure5_people"].title
    assert "English answers: 100% against 0%\nrules find a fault in 6 of the 6 " in got["figure4_people"].labels[1]
    assert got["figure2"].labels[0].startswith("beats base") and got["figure3"].labels[0].startswith("loses to base")
    led = table(lambda pair, o: "a" if int(pair["prompt_id"][1]) % 3 else "b")
    assert drawn(led)["figure2"].labels[0].startswith("not told apart from base")
