"""The reviewers' page in a real Chromium: it works offline, its file is accepted, and nothing in the data runs."""

import json

import pytest

from blossom.instructions import checks, review, translation
from tests.browser import ALT, CONTROL, DOWN, ENTER, ESCAPE, UP

EVIL = "</script><script>window.ran = 1</script><!-- <img src=x onerror='window.ran = 2'> {{ 7 * 7 }} \u2028"
HERE = "#list [aria-current=true]"


def start(browser, path, reviewer):
    sign_in(browser.open(path), reviewer)


def sign_in(browser, reviewer):
    browser.find("#name").send_keys(reviewer)
    browser.find("#welcome button.main").click()
    browser.wait(lambda: browser.find("#who").text)  # a dialog closes a moment after the click


def field(browser, name):
    return browser.find(f'[data-field="{name}"] textarea')


def text_of(browser, name):
    return field(browser, name).get_attribute("value")


def write(browser, name, text):
    field(browser, name).send_keys(CONTROL, "a")
    field(browser, name).send_keys(text)


def go(browser, row):
    browser.find(f'#list [data-id="{row}"]').click()


def ids(browser):
    return [button.get_attribute("data-id") for button in browser.all("#list button")]


@pytest.fixture
def made(six, tmp_path, browser):
    review.write_review_page(six, tmp_path / "review.html")
    browser.open(tmp_path / "review.html").run("localStorage.clear()")
    return tmp_path / "review.html"


def test_what_was_typed_is_there_after_a_reload(browser, made, six):
    start(browser, made, "민지")
    go(browser, six[2].id)
    write(browser, "output", "고친 답변입니다.\n둘째 줄")
    browser.find("#note").send_keys("이름을 바꿈")
    browser.keys(ALT, "2")
    browser.driver.refresh()
    assert browser.all("dialog[open]") == []  # the name is known too
    assert text_of(browser, "output") == "고친 답변입니다.\n둘째 줄"
    assert browser.find("#note").get_attribute("value") == "이름을 바꿈"
    assert browser.find("[name=adaptation]:checked").get_attribute("value") == "ne_change"
    assert browser.find(HERE).get_attribute("data-id") == six[2].id
    assert text_of(browser, "instruction") == six[2].korean["instruction"]


def test_export_then_import_in_a_fresh_profile_then_a_conflict_is_found_and_settled(browser, launch, made, six):
    a, b = six[0].id, six[1].id
    start(browser, made, "민지")
    go(browser, a)
    write(browser, "output", "민지가 쓴 답변입니다.")
    browser.find("#next").click()
    first = browser.export()

    other = launch().open(made)
    other.find("#file").send_keys(str(first))  # straight from the welcome box
    other.wait(lambda: "1 / 6" in other.find("#count").text)
    assert other.find("#who").text.endswith("민지")
    go(other, a)
    assert text_of(other, "output") == "민지가 쓴 답변입니다."
    again = other.export()
    assert json.loads(again.read_text(encoding="utf-8"))["rows"] == json.loads(first.read_text(encoding="utf-8"))["rows"]

    other.find("#who").click()
    other.find("#name").clear()
    sign_in(other, "서준")
    other.wait(lambda: "0 / 6" in other.find("#count").text)  # another reviewer starts from the drafts
    go(other, a)
    assert text_of(other, "output") == six[0].korean["output"]
    write(other, "output", "서준이 쓴 답변입니다.")
    other.find("#next").click()
    other.find("#next").click()  # and row b as drafted
    second = other.export()
    assert first.name.endswith("-민지.json") and second.name.endswith("-서준.json")

    merged = review.merge_reviews(six, [first, second])
    assert (merged.unsettled, list(merged.rows)) == ([a], [b])
    assert {v.fields["output"] for v in merged.conflicts[a]} == {"민지가 쓴 답변입니다.", "서준이 쓴 답변입니다."}

    review.write_adjudication_page(merged, made.parent / "conflicts.html")
    other.run("localStorage.clear()")
    start(other, made.parent / "conflicts.html", "다은")
    other.click('[data-field="output"] .versions > :nth-child(2) button')
    assert text_of(other, "output") == merged.conflicts[a][1].fields["output"]
    other.click(".whole button:first-child")
    other.find("#next").click()
    settled = review.merge_reviews(six, [first, second, other.export().rename(made.parent / "settled.json")])
    assert not settled.unsettled and settled.rows[a].fields == merged.conflicts[a][0].fields


def test_html_and_script_are_shown_as_text(browser, tmp_path):
    names = {"history.1.user": "q", "history.1.assistant": "a", "instruction": "i", "input": "n", "output": "o"}
    evil = translation.Draft(f'x"{EVIL}', EVIL, {k: f"{v} {EVIL}" for k, v in names.items()}, {k: EVIL for k in names})
    review.write_review_page([evil], tmp_path / "evil.html")
    start(browser, tmp_path / "evil.html", "<b>민지</b>" + EVIL[:40])
    assert EVIL.strip() in browser.find('[data-field="output"] .pane[lang=en]').get_attribute("textContent")
    assert text_of(browser, "output") == EVIL
    browser.find("#note").send_keys("<svg onload='window.ran = 5'>")
    browser.find("#changes").click()
    browser.find("#done").click()
    assert json.loads(browser.export().read_text(encoding="utf-8"))["rows"][0]["id"] == evil.id
    assert browser.all("main img, main svg, main script, main b, header b, nav img") == []
    assert browser.run("return window.ran") is None  # the policy lets no script run but the page's own


def test_a_file_of_another_dataset_is_refused_and_an_older_one_overwrites_nothing(browser, made, exported, six):
    start(browser, made, "민지")
    other = exported("민지", {six[0].id: {"fields": {"output": "다른 것"}}}, "other", top={"dataset": "f" * 64})
    browser.find("#file").send_keys(str(other))
    browser.wait(lambda: browser.all("#ask[open]"))
    assert "ffffffffffff" in browser.find("#ask-text").text
    browser.find("#ask-yes").click()
    assert "0 / 6" in browser.find("#count").text and text_of(browser, "output") == six[0].korean["output"]
    write(browser, "output", "새로 쓴 것")
    old = exported("민지", {six[0].id: {"fields": {"output": "옛것"}}, six[1].id: {"fields": {"output": "둘째"}}})
    browser.find("#file").send_keys(str(old))
    browser.wait(lambda: "1행을 가져왔습니다" in browser.told())
    assert text_of(browser, "output") == "새로 쓴 것"


def test_the_keyboard_is_enough(browser, made, six):
    start(browser, made, "민지")
    field(browser, "instruction").click()
    browser.keys(ALT, "3")
    browser.keys(CONTROL, ENTER)
    browser.wait(lambda: browser.find(HERE).get_attribute("data-id") == six[1].id)
    assert "1 / 6" in browser.find("#count").text and browser.find("#bar").get_attribute("value") == "1"
    for key, row in ((DOWN, 2), (UP, 1)):
        browser.keys(ALT, key)
        browser.wait(lambda row=row: browser.find(HERE).get_attribute("data-id") == six[row].id)
    (row,) = json.loads(browser.export(lambda: browser.keys(CONTROL, "s")).read_text(encoding="utf-8"))["rows"]
    assert (row["id"], row["adaptation"], row["done"]) == (six[0].id, "topic_change", True)
    browser.keys("?")
    browser.wait(lambda: browser.find("#guide").is_displayed())
    browser.keys(ESCAPE)
    browser.keys("/")
    browser.wait(lambda: browser.run("return document.activeElement.id") == "search")


def test_filters_and_flags(browser, six, tmp_path):
    english = {"instruction": "Rinse it.", "input": "", "output": "Rinse it with water."}
    bad = translation.Draft("bad", "how-to", english, {"instruction": "그녀는 헹굽니다.", "input": "", "output": ""})
    clean = [d for d in six if not checks.flag_draft(d.english, d.korean)][:1]
    review.write_review_page([*clean, bad], tmp_path / "review.html")
    start(browser, tmp_path / "review.html", "민지")
    assert len(ids(browser)) == 2
    browser.find("[data-filter=flagged]").click()
    assert ids(browser) == ["bad"] and {c.text for c in browser.all(".chip")} == {"번역 없음", "번역 투"}
    assert "그녀는" in browser.find('[data-field="instruction"] .hints').text
    browser.find("#next").click()
    assert "답변" in browser.told() and not browser.find("#done").is_selected()  # an empty answer is not done
    write(browser, "output", "물로 헹굽니다.")
    browser.find("#next").click()
    browser.find("[data-filter=open]").click()
    assert ids(browser)[0] != "bad"
    browser.find("[data-filter=all]").click()
    browser.find("#search").send_keys("물로 헹굽")
    assert ids(browser) == ["bad"]


def test_when_the_browser_cannot_save_it_says_so_and_exports_all_the_same(browser, made):
    start(browser, made, "민지")
    browser.run("Storage.prototype.setItem = () => { throw new Error('full') }")
    write(browser, "output", "저장되지 않는 글")
    assert "bad" in browser.find("#saved").get_attribute("class")
    assert "저장되지 않는 글" in browser.export().read_text(encoding="utf-8")
    browser.run("state.unsaved.clear()")  # or the browser would ask before it leaves the page


def test_the_page_needs_nothing_from_outside_and_names_its_controls(browser, made):
    browser.errors()
    start(browser, made, "민지")
    assert browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)") == []
    unnamed = """return [...document.querySelectorAll('textarea, input:not([type=file]), select, button')]
        .filter((e) => !e.closest('dialog') && !(e.ariaLabel || e.labels?.length || e.textContent.trim()))
        .map((e) => e.outerHTML)"""
    assert browser.run(unnamed) == []
    assert [entry for entry in browser.errors() if entry["level"] == "SEVERE"] == []
