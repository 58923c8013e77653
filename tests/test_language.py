"""What language a text is in."""

import pytest

from blossom.text.language import language_of, measure_repetition, script_shares


def test_shares_are_of_letters_outside_code():
    found = script_shares("한글 ab 漢字 12!\n```\nprint\n```")
    assert found == pytest.approx({"hangul": 1 / 3, "latin": 1 / 3, "han": 1 / 3, "kana": 0, "other": 0})
    assert not any(script_shares("12!").values())


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("서울은 한국의 수도입니다.", "ko"),
        ("Seoul is the capital of Korea.", "en"),
        ("Python에서 `sorted()` 함수를 쓰면 리스트를 정렬할 수 있습니다.", "ko"),
        ("The word 서울 means capital, and every guide of the old city will tell you so.", "en"),
        ("I think 서울은 정말 is a great city 라고 I often say to friends", "mixed"),
        ("東京は日本の首都です。", "other"),
        ("首尔是韩国的首都。", "other"),
        ("我们去 서울 旅行，看看这个美丽的城市。", "other"),
        ("大韓民國의 主權은 國民에게 있고, 모든 權力은 國民으로부터 나온다.", "ko"),
        ("Столица Кореи — Сеул.", "other"),
        ("Windows 11에서 Python 설치하기", "ko"),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", "ko"),
        ("12 + 30 = 42", "none"),
        ("", "none"),
        ("```python\nprint('hello world')\n```", "none"),
        ("{name}님, 반갑습니다", "ko"),
        ("{friendly_name} {area_name} 켜기", "ko"),
        ("다음 코드를 쓰세요.\n```python\nfor item in list_of_items: print(item)\n```", "ko"),
        ("```python\nunfinished_function_of_an_answer_that_was_cut(", "none"),
    ],
)
def test_the_language_of_a_text(text, language):
    assert language_of(text) == language


def test_repetition_sees_loops_with_and_without_spaces():
    assert measure_repetition("a b c a b c a b c") == pytest.approx(4 / 7)
    assert measure_repetition("오늘은 날씨가 좋아서 산책을 했습니다") == 0
    assert measure_repetition("아" * 200) > 0.8
    assert measure_repetition("짧다") == 0
