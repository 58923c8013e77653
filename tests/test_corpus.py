"""Texts: corpora and the files that they are read from, data sets of the hub, what language a text is in."""

import gzip
import json
import os
import re
import time
import tracemalloc
import unicodedata
from dataclasses import replace

import huggingface_hub
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from blossom.instructions.readers import read_instructions
from blossom.text import hub, language, leaks
from blossom.text.corpus import draw_bytes, normalise_text, read_corpus, read_documents
from blossom.text.rows import read_rows
from tests.cases import read_cases

CASES = read_cases(__file__)


@pytest.fixture
def texts(tmp_path, smoke):
    """Parameters whose Korean is a file of ours: `texts("줄\n줄\n")`."""

    def make(korean, **overrides):
        file = tmp_path / "ko.txt"
        file.write_bytes(korean if isinstance(korean, bytes) else korean.encode())
        return smoke("03_bilingual_pretraining", korean_texts=[str(file)], **overrides)

    return make


korean = st.text(st.sampled_from("먹는 햄버거를 공룡이\u1100\u1161\u11a8 abc.\n🙂漢"), max_size=40)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(korean, min_size=1, max_size=40), heldout=st.integers(1, 4))
def test_no_line_is_lost_and_no_training_line_is_like_a_held_out_one_the_same_each_time(texts, lines, heldout):
    text = "\n".join(line.replace("\n", " ") for line in lines)
    p = texts(text, heldout_lines=heldout)
    try:
        found, again = read_corpus(p), read_corpus(p)
    except ValueError as error:
        assume("ko.txt" in str(error) and ("hold" in str(error) or "nothing is left" in str(error)))
        return
    assert found.heldout() == again.heldout() and list(found.korean) == list(again.korean)
    read = [normalise_text(line) for line in text.split("\n")]
    assert {*found.korean, *found.heldout_korean} <= {*read}
    assert len(found.heldout_korean) == len(found.heldout_english) == heldout
    guarded = {leaks.fold_letters(line) for held in found.heldout().values() for line in held}
    assert not guarded & {leaks.fold_letters(line) for line in [*found.korean, *found.english]}
    removed = sum(n for reason, n in found.removed.items() if reason.startswith("korean"))
    assert len(found.korean) + heldout + removed == sum(map(bool, read))


def test_a_line_held_out_of_one_language_is_not_trained_on_in_the_other(smoke):
    p = smoke("03_bilingual_pretraining", heldout_lines=10)
    corpus = read_corpus(replace(p, english_texts=[*p.english_texts, *p.korean_texts]))
    assert corpus.heldout_korean and not set(corpus.heldout_korean) & set(corpus.english)


@pytest.mark.parametrize(("line", "given", "told"), CASES["scripts"])
def test_general_text_in_another_script_is_refused_and_korean_with_hanja_or_latin_is_not(texts, line, given, told):
    p = texts("\n".join(f"{chr(0xAC00 + n)} {line}" for n in range(40)), heldout_lines=20, **given)
    try:
        assert read_corpus(p).general_korean and not told
    except ValueError as error:
        assert told and re.search(told, str(error)), error


def test_more_text_moves_few_held_out_lines(texts):
    lines = [f"문장 {chr(0xAC00 + i)}{chr(0xB098 + i)} 입니다" for i in range(400)]
    few = read_corpus(texts("\n".join(lines[:360]), heldout_lines=40)).heldout_korean
    assert len(set(few) & set(read_corpus(texts("\n".join(lines), heldout_lines=40)).heldout_korean)) >= 30


def test_duplicates_and_near_copies_of_held_out_lines_are_counted_and_removed(texts):
    lines = [f"날씨가 {w}" for w in "맑다 흐리다 춥다 덥다 좋다 나쁘다".split()]
    loaded = read_corpus(texts("\n".join(lines + [line + "!" for line in lines] + lines), heldout_lines=3))
    assert loaded.removed["korean_texts: duplicate"] == 6
    assert loaded.removed["korean_texts: like a held-out line"] == 3
    assert len(loaded.korean) == 6


def test_rows_whose_text_is_null_are_left_out_and_counted(texts, tmp_path):
    rows = [{"text": f"{c} 문장"} for c in "가나다라마바사아"] + [{"text": None}]
    (tmp_path / "ko.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    loaded = read_corpus(replace(texts("하나"), korean_texts=[str(tmp_path / "ko.jsonl")], heldout_lines=3))
    assert loaded.removed["korean_texts: without text"] == 1 and len(loaded.korean) == 5


def test_training_lines_are_read_anew_from_their_sources_at_each_pass(texts):
    p = texts("\n".join(f"{c} 문장" for c in "가나다라마바사아자차"), heldout_lines=2)
    loaded = read_corpus(p)
    lines = list(loaded.korean)
    assert len(loaded.korean) == len(lines) == 8 and list(loaded.korean) == lines
    assert loaded.korean[2:7:2] == lines[2:7:2] and loaded.korean[-2:] == lines[-2:]
    assert lines == [line for line in read_documents(p.korean_texts[0]) if line not in loaded.heldout_korean]


@given(st.lists(st.text("가a", min_size=1, max_size=9), min_size=1, max_size=30), st.integers(1, 300))
def test_bytes_are_drawn_from_every_part_of_a_text(lines, size):
    drawn, held = draw_bytes(lines, size), sum(len(line.encode()) for line in lines)
    rest = iter(lines)
    assert drawn == lines if size >= held else all(line in rest or line == lines[0][: len(line)] for line in drawn)
    chosen = [int(line) for line in draw_bytes([f"{n:04}" for n in range(1000)], 4 * len(lines))]
    assert len(chosen) == len(lines) and all(n * 1000 // len(lines) <= c for n, c in enumerate(chosen))
    assert draw_bytes(["가나다"], 7) == ["가나"]


def test_a_line_of_two_sources_belongs_to_the_first(texts, smoke, tmp_path):
    (tmp_path / "more.txt").write_text("가 문장\n카 문장\n", encoding="utf-8")
    p = texts("\n".join(f"{c} 문장" for c in "가나다라마바사아자차"), heldout_lines=1)
    p = smoke("03_bilingual_pretraining", korean_texts=[*p.korean_texts, str(tmp_path / "more.txt")], heldout_lines=1)
    loaded = read_corpus(p)
    assert "가 문장" not in list(loaded.korean.of(str(tmp_path / "more.txt")))
    assert {*loaded.korean, *loaded.heldout_korean} >= {"가 문장", "카 문장"}


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    once = normalise_text(text)
    assert normalise_text(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(c) == "Cc" for c in once)
    assert normalise_text(unicodedata.normalize("NFD", "햄버거를\t먹는 \x00공룡")) == "햄버거를 먹는 공룡"


def put(file, content):
    """Write a case of test_corpus.yaml: text, or {an encoding, gz or parquet: text or rows}."""
    ((how, content),) = content.items() if isinstance(content, dict) else [("utf-8", content)]
    if how == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), file)
    elif how == "pipe":
        os.mkfifo(file)
    else:
        file.write_bytes(gzip.compress(content.encode()) if how == "gz" else content.encode(how))


@pytest.mark.parametrize(("name", "content", "found"), CASES["texts"])
def test_a_file_of_texts_is_read_by_its_content_or_refused_by_name(tmp_path, name, content, found):
    put(tmp_path / name, content)
    for source in (tmp_path / name, tmp_path):  # a file of a folder is read, or refused, like one that is named
        if isinstance(found, list):
            assert list(read_documents(str(source))) == found
        else:
            with pytest.raises(ValueError, match=f"{re.escape(name)}.*{found}"):
                list(read_documents(str(source)))


def test_hidden_files_are_no_data_and_links_to_folders_are_named(tmp_path):
    (tmp_path / "a.txt").write_text("하나", encoding="utf-8")
    for name in CASES["hidden"] + CASES["shown"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("숨은 글 하나", encoding="utf-8")
    assert sorted(read_documents(str(tmp_path))) == [*["숨은 글 하나"] * len(CASES["shown"]), "하나"]
    assert leaks.read_evaluation_texts([str(tmp_path)]) == dict.fromkeys([*CASES["shown"], "a.txt"], [])
    (tmp_path / "more").symlink_to("/")
    with pytest.raises(ValueError, match="more: expected a file, found a pipe, a device, or a link to a folder"):
        list(read_documents(str(tmp_path)))


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
def test_a_name_is_found_in_either_normal_form(tmp_path, stored):
    file = tmp_path / unicodedata.normalize(stored, "소설") / unicodedata.normalize(stored, "첫 권.txt")
    file.parent.mkdir()
    file.write_text("하나\n", encoding="utf-8")
    for asked in ("NFC", "NFD"):
        assert list(read_documents(unicodedata.normalize(asked, str(file)))) == ["하나"]


def test_a_corpus_is_never_held_whole_in_memory(tmp_path, smoke):
    file = tmp_path / "large.txt"
    names = [f"{chr(0xAC00 + n)}{chr(0xD7A3 - n)}" for n in range(1000)]
    file.write_text("".join(f"{name} " + "긴 문장이다 " * 100 + "\n" for name in names), encoding="utf-8")
    p = smoke("03_bilingual_pretraining", korean_texts=[str(file)])
    read_corpus(p)  # imports
    tracemalloc.start()
    characters = sum(map(len, read_corpus(p).korean))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert characters > 6e5 and file.stat().st_size > 1.6e6 and peak < 6e5


@pytest.mark.parametrize(("name", "content", "found", "how"), CASES["rows"])
def test_rows_of_every_kind_of_file_are_read_with_their_places_or_refused_by_place(tmp_path, name, content, found, how):
    put(tmp_path / name, content)
    rows = read_rows(str(tmp_path / name), **how)
    if isinstance(found, dict):
        assert {place.split(", ")[-1]: row for place, row in rows} == found
    else:
        with pytest.raises(ValueError, match=found):
            list(rows)


@pytest.mark.parametrize(("source", "parts"), CASES["hub_sets"])
def test_one_grammar_of_hub_sets(source, parts):
    assert [*hub.parse_hub(source)] == parts
    for wrong in ("hub:", "hub:a/b:", "hub:a/b:c:d:e", "hub:a/b:c:d[1:2]"):
        with pytest.raises(ValueError, match="owner/name"):
            hub.parse_hub(wrong)


@pytest.mark.parametrize(("source", "error", "named"), CASES["refusals"])
@pytest.mark.parametrize("read", [read_documents, lambda source: read_instructions(source, "en")])
def test_why_the_hub_does_not_give_a_set(monkeypatch, tmp_path, read, source, error, named):
    def refuse(*_, **__):
        raise ConnectionError(error)

    monkeypatch.setenv("BLOSSOM_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    with pytest.raises(ValueError, match=f"{source}: .*{named}"):
        list(read(source))


def test_shares_are_of_letters_outside_code():
    found = language.script_shares("한글 ab 漢字 12!\n```\nprint\n```")
    assert found == pytest.approx({"hangul": 1 / 3, "latin": 1 / 3, "han": 1 / 3, "kana": 0, "other": 0})
    assert not any(language.script_shares("12!").values())


@pytest.mark.parametrize(("text", "expected"), CASES["languages"])
def test_the_language_of_a_text(text, expected):
    assert language.language_of(text) == expected


def test_a_copied_prompt_is_seen_in_a_short_time_however_long_it_is():
    asked = "가나다라 마바사아 " * 4000
    began = time.perf_counter()
    assert language.answer_language(asked[:-9], asked) == "copy"
    short, stated = "한국의 수도는?", "한국의 수도는 서울입니다."
    assert [language.answer_language(a, short) for a in (stated, f"{short} {stated}", stated[:9])] == ["ko", "copy", "copy"]
    assert language.answer_language("하하 " * 20000, asked) == "ko"
    assert time.perf_counter() - began < 5
