import gzip
import json
import os
import re
import tracemalloc
import unicodedata
from dataclasses import replace

import huggingface_hub
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.instructions.readers import read_instructions
from blossom.text.corpus import normalise_text, read_corpus, read_documents
from blossom.text.hub import parse_hub
from blossom.text.leaks import fold_letters, read_evaluation_texts
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


def test_held_out_lines_are_the_same_each_time_and_never_trained_on(smoke):
    first, second = (read_corpus(smoke("03_bilingual_pretraining")) for _ in range(2))
    assert first.heldout() == second.heldout() and list(first.korean) == list(second.korean)
    for training, heldout in ((first.korean, first.heldout_korean), (first.english, first.heldout_english)):
        assert len(heldout) == 20
        assert not {fold_letters(line) for line in heldout} & {fold_letters(line) for line in training}


def test_a_line_held_out_of_one_language_is_not_trained_on_in_the_other(smoke):
    p = smoke("03_bilingual_pretraining", heldout_lines=10)
    corpus = read_corpus(replace(p, english_texts=[*p.english_texts, *p.korean_texts]))
    assert corpus.heldout_korean and not set(corpus.heldout_korean) & set(corpus.english)


def test_more_text_moves_few_held_out_lines(texts):
    lines = [f"문장 {chr(0xAC00 + i)}{chr(0xB098 + i)} 입니다" for i in range(400)]
    few = read_corpus(texts("\n".join(lines[:360]), heldout_lines=40)).heldout_korean
    many = read_corpus(texts("\n".join(lines), heldout_lines=40)).heldout_korean
    assert len(set(few) & set(many)) >= 30


def test_duplicates_and_near_copies_of_held_out_lines_are_counted_and_removed(texts):
    lines = [f"날씨가 {w}" for w in "맑다 흐리다 춥다 덥다 좋다 나쁘다".split()]
    copies = [line + "!" for line in lines]
    loaded = read_corpus(texts("\n".join(lines + copies + lines), heldout_lines=3))
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
    for name in CASES["hidden"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("숨은 글 하나", encoding="utf-8")
    assert list(read_documents(str(tmp_path))) == ["하나"]
    assert read_evaluation_texts([str(tmp_path)]) == {"a.txt": []}
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


def test_rows_of_every_kind_of_file_with_their_places(tmp_path):
    (tmp_path / "a.JSONL").write_bytes('\ufeff{"a": "x\u2028y"}\r\n\r\n{"a": 2}\n'.encode())
    (tmp_path / "b.json").write_text(json.dumps([{"a": 1}]))
    (tmp_path / "c.tsv").write_text('a\tb\n"x\ty\n', encoding="utf-8")
    (tmp_path / "d.txt").write_text('1\t"x\ty"\n', encoding="utf-8")
    (tmp_path / "e.txt").write_text('1\t"x\n2\ty"\n', encoding="utf-8")
    found = {name: list(read_rows(str(tmp_path / name))) for name in ("a.JSONL", "b.json", "c.tsv")}
    assert [row for _, row in found["a.JSONL"]] == [{"a": "x\u2028y"}, {"a": 2}]
    assert [place.split(", ")[1] for place, _ in found["a.JSONL"]] == ["line 1", "line 3"]
    assert found["b.json"][0][1] == {"a": 1} and found["c.tsv"][0][1] == {"a": '"x', "b": "y"}
    assert [row for _, row in read_rows(str(tmp_path / "d.txt"), ("n", "t"), quoted=True)] == [{"n": "1", "t": "x\ty"}]
    with pytest.raises(ValueError, match="e.txt, line 2: not a .txt table .a field's quotation mark"):
        list(read_rows(str(tmp_path / "e.txt"), ("n", "t"), quoted=True))


def test_a_header_line_names_the_columns_of_pairs_in_any_order(tmp_path):
    (tmp_path / "pairs.csv").write_text('korean,english\n"안녕, 반가워",Hello\n', encoding="utf-8")
    rows = [row for _, row in read_rows(str(tmp_path / "pairs.csv"), ("english", "korean"))]
    assert rows == [{"korean": "안녕, 반가워", "english": "Hello"}]
    (tmp_path / "texts.csv").write_text("id,text\n1,안녕, 세상\n", encoding="utf-8")
    with pytest.raises(ValueError, match="texts.csv, line 2: expected 2 columns, found 3"):
        list(read_documents(str(tmp_path / "texts.csv")))


@pytest.mark.parametrize(("name", "content", "named"), CASES["wrong"])
def test_what_is_wrong_with_a_file_is_named_by_its_place(tmp_path, name, content, named):
    put(tmp_path / name, content)
    with pytest.raises(ValueError, match=named):
        list(read_rows(str(tmp_path / name)))


@pytest.mark.parametrize(("source", "parts"), CASES["hub_sets"])
def test_one_grammar_of_hub_sets(source, parts):
    assert [*parse_hub(source)] == parts
    for wrong in ("hub:", "hub:a/b:", "hub:a/b:c:d:e", "hub:a/b:c:d[1:2]"):
        with pytest.raises(ValueError, match="owner/name"):
            parse_hub(wrong)


@pytest.mark.parametrize(("source", "error", "named"), CASES["refusals"])
@pytest.mark.parametrize("read", [read_documents, lambda source: read_instructions(source, "en")])
def test_why_the_hub_does_not_give_a_set(monkeypatch, tmp_path, read, source, error, named):
    def refuse(*_, **__):
        raise ConnectionError(error)

    monkeypatch.setenv("BLOSSOM_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    with pytest.raises(ValueError, match=f"{source}: .*{named}"):
        list(read(source))
