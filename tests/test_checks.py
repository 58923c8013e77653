import pytest

from blossom.instructions import checks, drafts
from blossom.instructions.readers import read_instructions

LONG = "Blot the stain with a clean cloth, rinse it under cold water, and wash the shirt as usual after an hour. " * 2


@pytest.fixture(scope="module")
def authored():
    english, korean = read_instructions("authored-en", "en"), read_instructions("authored-ko", "ko")
    by_id = {e.id: drafts.example_fields(e) for e in english}
    pairs = [(by_id[k.source_id], drafts.example_fields(k)) for k in korean]
    return [(drafts.Draft(k.source_id, "", *pair), k.adaptation) for k, pair in zip(korean, pairs, strict=True)]


def kinds(english, korean, **more):
    return [f.kind for f in checks.flag_draft({"output": english}, {"output": korean}, **more)]


@pytest.mark.parametrize("kind", [kind for kind in checks.KINDS if not kind.startswith("foreign")])
def test_reviewed_korean_is_rarely_flagged(authored, kind):
    flagged = [d.id for d, a in authored if kind in [f.kind for f in checks.flag_draft(d.english, d.korean, (), a)]]
    assert len(flagged) <= 0.04 * len(authored), flagged


def test_rows_that_people_adapted_are_found_in_the_english(authored):
    def found(adaptation):
        rows = [checks.flag_draft(d.english, d.english) for d, a in authored if a == adaptation]
        return sum(any(f.kind.startswith("foreign") for f in row) for row in rows) / len(rows)

    assert found("ne_change") >= 0.7  # measured: 0.77
    assert found("none") <= 0.15  # 0.09


TRANSLATED = """이 책은 그에 의해 쓰여졌습니다.
당신은 물을 더 마셔야 합니다.
그녀는 좋은 의사입니다.
그는 큰 집을 가지고 있습니다.
서울은 가장 큰 도시들 중 하나입니다.
많은 사람들이 이것을 모릅니다.
회의가 취소되어졌습니다.
비용에도 불구하고 가치가 있습니다.
건강에 대한 정보를 통해 식단에 대한 계획을 세우는 것입니다."""
PLAIN = """그 도시는 볼거리가 많습니다.
건강을 위해 많이 걸으세요.
학생들이 도서관에 모였습니다.
불이 꺼져 있으면 되돌려 보세요.
지나치게 당신경질적인 말투는 피하세요.
그럼에도 불구하고 해 볼 만합니다.
앞으로의 계획을 적어 보세요."""


@pytest.mark.parametrize("text", (TRANSLATED + "\n" + PLAIN).splitlines())
def test_translationese_is_flagged_and_plain_korean_is_not(text):
    assert ("translationese" in kinds("He has a big house.", text)) == (text in TRANSLATED)


def test_english_left_in_place():
    assert kinds("Rinse it with cold water now.", "Rinse it with cold water now.") == ["left_in_english"]
    forgotten = "찬물로 헹구세요. wash the shirt as usual after an hour. 그리고 말리세요."
    flags = checks.flag_draft({"output": LONG}, {"output": forgotten})
    assert flags[0] == checks.Flag("left_in_english", "output", "wash the shirt as usual after an hour")
    for code in ("`git commit --amend`를 쓰세요.", "def add(a, b):\n    return a + b", "SELECT name, id FROM t;"):
        assert "left_in_english" not in kinds(code, code)


WHOLE = "깨끗한 천으로 눌러 얼룩을 빨아들이고 찬물로 헹군 다음, 한 시간 뒤에 평소처럼 세탁하면 됩니다. 마르면 살펴보세요."
STEPS, CODE = "1. Boil.\n2. Stir.\n3. Rest.", "```python\nprint('hi')  # greet\nx = 1\n```"
POEM = "Roses are red\nViolets are blue\nSugar is sweet and so, so very, very, very, very much are you."


@pytest.mark.parametrize(
    ("english", "korean", "expected"),
    [
        (LONG, WHOLE, []),
        (LONG, WHOLE[:-12], ["cut_off"]),
        (LONG, "눌러 닦으세요.", ["cut_off"]),  # a tenth of the length
        ("Run:\n```\nls\n```", "이렇게 하세요.\n```\nls\n", ["cut_off"]),
        (POEM, "장미는 붉고\n제비꽃은 푸르고\n설탕은 달고\n그대도 달아", []),
        ("Rinse it.", "다음은 번역한 글입니다:\n헹구세요.", ["extra"]),
        ("Rinse it well, please.", "헹구어 주시기 바랍니다. " * 4, ["extra"]),
        ("Rinse it with cold water for a minute or two.", "얼룩이 남으면 또 하세요, " * 8 + "끝.", ["extra"]),
        (STEPS, "1. 끓입니다.\n2. 젓습니다.\n3. 둡니다.", []),
        (STEPS, "끓이고 젓고 둡니다.", ["broken_format"]),
        (CODE, "```python\nprint('안녕')  # 인사\nx = 1\n```", []),
        (CODE, "```python\n인쇄('안녕')  # 인사\nx = 1\n```", ["broken_format"]),
        ("See https://a.org and {name}.", "{name}을 보세요.", ["broken_format"]),
        ("Hello there.", "안녕하세\ufffd.", ["broken_format"]),
    ],
)
def test_what_is_missing_added_or_broken_is_flagged(english, korean, expected):
    assert kinds(english, korean) == expected


def test_a_reply_that_the_service_cut_is_flagged_once():
    assert kinds(LONG, WHOLE, cut=("output",)) == kinds(LONG, WHOLE[:-12], cut=("output",)) == ["cut_off"]


def test_a_changed_topic_is_not_compared_with_its_english():
    korean = "1. 쌀을 불립니다.\n2. 빻습니다."
    assert "broken_format" in kinds("- Pay at Walmart.\n- Go to Texas.", korean)
    assert kinds("- Pay at Walmart.\n- Go to Texas.", korean, adaptation="topic_change") == []


@pytest.mark.parametrize(
    ("english", "korean", "adaptation", "expected"),
    [
        ("I heard Mount Stuart is hard.", "그 산은 어렵나요?", "none", [("foreign_name", "Mount Stuart")]),
        ("It costs 40 dollars.", "40달러입니다.", "none", [("foreign_life", "dollars, 40달러")]),
        ("It costs 40 dollars.", "40달러입니다.", "ne_change", [("foreign_life", "40달러")]),  # still in the Korean
        ("It costs 40 dollars.", "4만 원입니다.", "ne_change", []),
        ("It is 2,540 miles long.", "2,540마일입니다.", "none", [("foreign_life", "2,540 miles, 2,540마일")]),
        ("On Monday I use Python and Excel.", "월요일에는 파이썬과 엑셀을 써요.", "none", []),
    ],
)
def test_foreign_names_and_american_life(english, korean, adaptation, expected):
    flags = checks.flag_draft({"instruction": english}, {"instruction": korean}, adaptation=adaptation)
    assert [(f.kind, f.found) for f in flags] == expected


def test_names_in_answers_are_not_flagged_and_a_missing_translation_is_one_flag():
    assert kinds("It stands in Berlin.", "베를린에 있습니다.") == []
    flags = checks.flag_draft({"instruction": "Hi.", "input": "", "output": "Hi."}, {"instruction": "안녕.", "output": " "})
    assert flags == [checks.Flag("empty", "output", "")]
