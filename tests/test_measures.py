"""What is counted in answers, and the prompts they answer."""

import json

import pytest

from blossom.preference import measures, prompts
from blossom.text.language import language_of


@pytest.mark.parametrize(
    ("text", "asked", "counts"),
    [("네, 맞아요.", "ko", True), ("Yes.", "ko", False), ("네.", "en", False), ("", "en", False), ("42", "ko", True)],
)
def test_answered_in_the_prompts_language(text, asked, counts):
    assert measures.measure_answer(text, asked)["answered_in_language"] is counts


def test_the_table_has_a_row_for_each_model_and_language():
    answers = [
        {"model": "ours", "language": "ko", "answer": "네, 좋습니다."},
        {"model": "ours", "language": "ko", "answer": ""},
        {"model": "base", "language": "ko", "answer": "Yes, of course."},
    ]
    ours, base = measures.measure_answers(answers).to_dict("records")
    assert (ours["answered_in_language"], base["answered_in_language"]) == (0.5, 0)
    assert (ours["empty"], ours["mean_characters"], ours["answers"]) == (0.5, 4, 2)


def test_the_authored_prompts_have_both_languages_and_every_kind():
    found = prompts.read_prompts("authored-prompts", 24)
    assert [p["language"] for p in found] == ["ko"] * 24 + ["en"] * 24
    korean, english = found[:24], found[24:]
    assert [p["prompt_id"] for p in korean] == [p["prompt_id"] for p in english]
    assert len({p["kind"] for p in korean}) == 8
    assert all(language_of(p["prompt"]) == p["language"] for p in found)
    assert len(prompts.read_prompts("authored-prompts", 1000)) == 128


@pytest.mark.parametrize(
    ("row", "language", "kind", "name", "prompt"),
    [
        ({"conversations": ["What is it?", "A comet."], "source": "wikihow"}, "en", "wikihow", "1", "What is it?"),
        ({"conversations": [{"from": "system", "value": "-"}, {"from": "human", "value": "?"}]}, "en", "other", "1", "?"),
        ({"messages": [{"role": "user", "content": "혜성이란?"}], "id": 0}, "ko", "other", "0", "혜성이란?"),
        ({"question_id": 81, "category": "writing", "turns": ["Write it.", "Again."]}, "en", "writing", "81", "Write it."),
        ({"id": 3, "category": "추론", "questions": ["누가 범인인가요?", "왜요?"]}, "ko", "추론", "3", "누가 범인인가요?"),
        ({"instruction": "요약해 줘.", "input": "긴 글"}, "ko", "other", "1", "요약해 줘.\n긴 글"),
        ({"prompt": "Why?"}, "en", "other", "1", "Why?"),
    ],
)
def test_the_public_sets_forms_are_read(tmp_path, row, language, kind, name, prompt):
    file = tmp_path / "set.jsonl"
    file.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    expected = {"prompt_id": name, "kind": kind, "language": language, "prompt": prompt}
    assert prompts.read_prompts(str(file), 5) == [expected]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"id": "a", "kind": "x", "ko": " "}], "line 1: ko: expected a prompt's text"),
        ([{"id": "a", "ko": "하나"}, {"id": "a", "ko": "둘"}], "line 2: id 'a' is given twice"),
        ([{"id": "a", "kind": "x"}], "line 1: en: expected a prompt's text"),
        ([], "holds no prompts"),
    ],
)
def test_a_wrong_prompt_file_is_named(tmp_path, rows, words):
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    with pytest.raises(ValueError, match=words):
        prompts.read_prompts(str(file), 5)
