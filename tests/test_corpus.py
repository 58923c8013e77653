import tracemalloc
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blossom.text.corpus import normalise_text, read_corpus, read_documents
from blossom.text.leaks import fold_letters


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


def test_general_text_is_never_trained_on(texts, smoke):
    general = list(read_documents("general-ko"))
    own = [f"{c}로 시작하는 줄" for c in "가나다라마바사아자차카타파하"]
    loaded = read_corpus(texts("\n".join(general + own), heldout_lines=4))
    assert not set(loaded.korean) & set(general)


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    once = normalise_text(text)
    assert normalise_text(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(c) == "Cc" for c in once)


def test_decomposed_hangul_becomes_syllables():
    assert normalise_text(unicodedata.normalize("NFD", "햄버거를\t먹는 \x00공룡")) == "햄버거를 먹는 공룡"


def test_files_of_every_kind_and_folders_are_read(tmp_path):
    (tmp_path / "a.JSONL").write_text('{"text": "하나"}\n', encoding="utf-8")
    (tmp_path / "b.tsv").write_text("둘\ttwo\n", encoding="utf-8")
    (tmp_path / "c.TXT").write_bytes("\ufeff셋\r\n넷\r\n".encode())
    (tmp_path / "._c.TXT").write_bytes(b"\x00\x05\x16")
    (tmp_path / "d.md").write_text("not read", encoding="utf-8")
    assert list(read_documents(str(tmp_path))) == ["하나", "둘", "셋", "넷"]


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
