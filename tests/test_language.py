"""What language a text is in."""

import time

import pytest

from blossom.text.language import answer_language, language_of, measure_repetition, script_shares
from tests.cases import read_cases

CASES = read_cases(__file__)


def test_shares_are_of_letters_outside_code():
    found = script_shares("한글 ab 漢字 12!\n```\nprint\n```")
    assert found == pytest.approx({"hangul": 1 / 3, "latin": 1 / 3, "han": 1 / 3, "kana": 0, "other": 0})
    assert not any(script_shares("12!").values())


@pytest.mark.parametrize(("text", "language"), CASES["languages"])
def test_the_language_of_a_text(text, language):
    assert language_of(text) == language


def test_a_copied_prompt_is_seen_in_a_short_time_however_long_it_is():
    asked = "가나다라 마바사아 " * 4000
    began = time.perf_counter()
    assert answer_language(asked[:-9], asked) == "copy" and answer_language("하하 " * 20000, asked) == "ko"
    assert time.perf_counter() - began < 5


def test_repetition_sees_loops_with_and_without_spaces():
    assert measure_repetition("a b c a b c a b c") == pytest.approx(4 / 7)
    assert measure_repetition("오늘은 날씨가 좋아서 산책을 했습니다") == 0
    assert measure_repetition("아" * 200) > 0.8
    assert measure_repetition("짧다") == 0
