import json
import shutil
from pathlib import Path

import pytest

from blossom.instructions import checks, drafts, merging, review

EVIL = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 2'> {{ 7 * 7 }} \u2028"


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """`launch()`: a headless Chromium with a profile of its own; its downloads go to `.downloads`."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="the review page's tests need selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("the review page's tests need Chromium: apt-get install chromium chromium-driver")
    started = []

    def start():
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        profile, downloads = tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads")
        quiet = "gpu quic background-networking component-update sync".split()
        for word in ["headless", "no-sandbox", "no-first-run", *(f"disable-{q}" for q in quiet), f"user-data-dir={profile}"]:
            options.add_argument(f"--{word}")
        options.add_argument("--window-size=1400,1000")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        started.append(browser)
        browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
        return Page(browser, downloads)

    yield start
    for browser in started:
        browser.quit()


class Page:
    """What the tests do on the page, in a reviewer's words."""

    def __init__(self, browser, downloads):
        self.browser, self.downloads = browser, downloads

    def open(self, path, reviewer=None):
        self.browser.get(Path(path).as_uri())
        if reviewer:
            self.find("#name").send_keys(reviewer)
            self.find("#welcome button.main").click()
            self.wait(lambda: self.find("#who").text)  # a dialog closes a moment after the click
        return self

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def click(self, selector):
        self.browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", self.find(selector))
        self.find(selector).click()

    def field(self, name):
        return self.find(f'[data-field="{name}"] textarea')

    def go(self, row):
        self.find(f'#list [data-id="{row}"]').click()

    def type(self, name, text):
        from selenium.webdriver.common.keys import Keys

        self.field(name).send_keys(Keys.CONTROL, "a")
        self.field(name).send_keys(text)

    def keys(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.browser)
        for key in keys[:-1]:
            chain = chain.key_down(key)
        chain = chain.send_keys(keys[-1])
        for key in keys[:-1]:
            chain = chain.key_up(key)
        chain.perform()

    def wait(self, test):
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        redrawn = [StaleElementReferenceException]  # between finding an element and reading it
        return WebDriverWait(self.browser, 10, 0.02, redrawn).until(lambda _: test())

    def export(self, how=None):
        """The file that comes of a click on the button (or of `how`), moved to a folder of its own."""
        how() if how else self.find("#export").click()
        file = self.wait(lambda: next(self.downloads.glob("*.json"), None))
        folder = self.downloads / str(len(list(self.downloads.iterdir())))
        folder.mkdir()
        return file.rename(folder / file.name)

    def take(self, path):
        self.find("#file").send_keys(str(path))

    def told(self):
        return self.find("#told").text

    def run(self, script):
        return self.browser.execute_script(script)


@pytest.fixture(scope="module")
def browser(launch):
    return launch()


@pytest.fixture
def made(six, tmp_path, browser):
    """The path of a page of the six rows; the browser remembers nothing of it."""
    review.write_review_page(six, tmp_path / "review.html")
    browser.open(tmp_path / "review.html")
    browser.run("localStorage.clear()")
    return tmp_path / "review.html"


def test_what_was_typed_is_there_after_a_reload(browser, made, six):
    from selenium.webdriver.common.keys import Keys

    browser.open(made, "민지")
    browser.go(six[2].id)
    browser.type("output", "고친 답변입니다.\n둘째 줄")
    browser.find("#note").send_keys("이름을 바꿈")
    browser.keys(Keys.ALT, "2")
    browser.browser.refresh()  # nothing was saved by hand
    assert browser.all("dialog[open]") == []  # the name is known too
    assert browser.field("output").get_attribute("value") == "고친 답변입니다.\n둘째 줄"
    assert browser.find("#note").get_attribute("value") == "이름을 바꿈"
    assert browser.find("[name=adaptation]:checked").get_attribute("value") == "ne_change"
    assert browser.find("#list [aria-current=true]").get_attribute("data-id") == six[2].id
    assert browser.field("instruction").get_attribute("value") == six[2].korean["instruction"]


def test_export_then_import_in_a_fresh_profile_then_a_conflict_is_found(browser, launch, made, six):
    a, b = six[0].id, six[1].id
    browser.open(made, "민지")
    browser.go(a)
    browser.type("output", "민지가 쓴 답변입니다.")
    browser.find("#next").click()
    first = browser.export()

    other = launch().open(made)
    other.take(first)  # straight from the welcome box
    other.wait(lambda: "1 / 6" in other.find("#count").text)
    assert other.find("#who").text.endswith("민지") and "1행을 가져왔습니다" in other.told()
    other.go(a)
    assert other.field("output").get_attribute("value") == "민지가 쓴 답변입니다."
    again = other.export()
    assert json.loads(again.read_text(encoding="utf-8"))["rows"] == json.loads(first.read_text(encoding="utf-8"))["rows"]

    other.find("#who").click()
    other.find("#name").clear()
    other.find("#name").send_keys("서준")
    other.find("#welcome button.main").click()
    other.wait(lambda: "0 / 6" in other.find("#count").text)  # another reviewer starts from the drafts
    other.go(a)
    assert other.field("output").get_attribute("value") == six[0].korean["output"]
    other.type("output", "서준이 쓴 답변입니다.")
    other.find("#next").click()
    other.find("#next").click()  # and row b as drafted
    second = other.export()
    assert first.name.endswith("-민지.json") and second.name.endswith("-서준.json")

    merged = merging.merge_reviews(six, [first, second])
    assert (merged.unsettled, list(merged.rows)) == ([a], [b])
    assert {v.fields["output"] for v in merged.conflicts[a]} == {"민지가 쓴 답변입니다.", "서준이 쓴 답변입니다."}

    review.write_adjudication_page(merged, made.parent / "conflicts.html")
    other.run("localStorage.clear()")
    other.open(made.parent / "conflicts.html", "다은")
    other.click('[data-field="output"] .versions > :nth-child(2) button')
    assert other.field("output").get_attribute("value") == merged.conflicts[a][1].fields["output"]
    other.click(".whole button:first-child")
    other.find("#next").click()
    settled = merging.merge_reviews(six, [first, second], adjudication=other.export())
    assert not settled.unsettled and settled.rows[a].fields == merged.conflicts[a][0].fields


def test_html_and_script_are_shown_as_text(browser, tmp_path):
    names = {"history.1.user": "q", "history.1.assistant": "a", "instruction": "i", "input": "n", "output": "o"}
    evil = drafts.Draft(f'x"{EVIL}', EVIL, {k: f"{v} {EVIL}" for k, v in names.items()}, {k: EVIL for k in names})
    title = "<img src=x onerror='window.ran = 3'>"
    review.write_review_page([evil], tmp_path / "evil.html", title=title, assigned={EVIL: [evil.id]})
    browser.open(tmp_path / "evil.html", "<b>민지</b>" + EVIL[:40])
    assert EVIL.strip() in browser.find('[data-field="output"] .pane[lang=en]').get_attribute("textContent")
    assert browser.field("output").get_attribute("value") == EVIL
    browser.field("output").send_keys("<img src=x onerror='window.ran = 4'>")
    browser.find("#note").send_keys("<svg onload='window.ran = 5'>")
    browser.find("#changes").click()
    browser.find("#done").click()
    assert json.loads(browser.export().read_text(encoding="utf-8"))["rows"][0]["id"] == evil.id
    assert browser.run("return window.ran") is None
    assert browser.find("h1").text == title
    assert browser.all("main img, main svg, main script, main b, header b, nav img") == []
    browser.run("const s = document.createElement('script'); s.textContent = 'window.ran = 6'; document.body.append(s)")
    assert browser.run("return window.ran") is None  # the policy lets no script run but the page's own


def test_a_file_of_another_dataset_is_refused_on_the_page(browser, made, exported, six):
    browser.open(made, "민지")
    browser.take(exported("민지", {six[0].id: {"fields": {"output": "다른 것"}}}, top={"dataset": "f" * 64}))
    browser.wait(lambda: browser.all("#ask[open]"))
    assert "다른 데이터의 파일입니다: ffffffffffff" in browser.find("#ask-text").text
    browser.find("#ask-yes").click()
    assert "0 / 6" in browser.find("#count").text
    assert browser.field("output").get_attribute("value") == six[0].korean["output"]


def test_an_older_file_does_not_overwrite_what_is_newer_here(browser, made, exported, six):
    browser.open(made, "민지")
    browser.type("output", "새로 쓴 것")
    old = exported("민지", {six[0].id: {"fields": {"output": "옛것"}}, six[1].id: {"fields": {"output": "둘째"}}})
    browser.take(old)
    browser.wait(lambda: "1행을 가져왔습니다. 1행은 이 브라우저의 것이 더 새것" in browser.told())
    assert browser.field("output").get_attribute("value") == "새로 쓴 것"


def test_the_keyboard_is_enough(browser, made, six):
    from selenium.webdriver.common.keys import Keys

    browser.open(made, "민지")
    browser.field("instruction").click()
    browser.keys(Keys.ALT, "3")
    browser.keys(Keys.CONTROL, Keys.ENTER)
    here = "#list [aria-current=true]"
    browser.wait(lambda: browser.find(here).get_attribute("data-id") == six[1].id)
    assert "1 / 6" in browser.find("#count").text and browser.find("#bar").get_attribute("value") == "1"
    browser.keys(Keys.ALT, Keys.ARROW_DOWN)
    browser.wait(lambda: browser.find(here).get_attribute("data-id") == six[2].id)
    browser.keys(Keys.ALT, Keys.ARROW_UP)
    browser.wait(lambda: browser.find(here).get_attribute("data-id") == six[1].id)
    saved = browser.export(lambda: browser.keys(Keys.CONTROL, "s"))
    (row,) = json.loads(saved.read_text(encoding="utf-8"))["rows"]
    assert (row["id"], row["adaptation"], row["done"]) == (six[0].id, "topic_change", True)
    browser.keys("?")
    browser.wait(lambda: browser.find("#guide").is_displayed())
    browser.keys(Keys.ESCAPE)
    browser.keys("/")
    browser.wait(lambda: browser.run("return document.activeElement.id") == "search")


def test_filters_and_flags(browser, six, tmp_path):
    bad = drafts.Draft("bad", "how-to", {"instruction": "Rinse it.", "input": "", "output": "Rinse it with water."}, {})
    bad = drafts.Draft(bad.id, bad.category, bad.english, {"instruction": "그녀는 헹굽니다.", "input": "", "output": ""})
    clean = [d for d in six if not checks.flag_draft(d.english, d.korean)][:1]
    review.write_review_page([*clean, bad], tmp_path / "review.html")
    browser.open(tmp_path / "review.html", "민지")
    assert len(browser.all("#list li")) == 2
    browser.find("[data-filter=flagged]").click()
    assert [b.get_attribute("data-id") for b in browser.all("#list button")] == ["bad"]
    assert {c.text for c in browser.all(".chip")} == {"번역 없음", "번역 투"}
    assert "번역 투: 그녀는" in browser.find('[data-field="instruction"] .hints').text
    browser.find("#next").click()
    assert browser.told() == "답변 칸이 비어 있습니다." and not browser.find("#done").is_selected()
    browser.type("output", "물로 헹굽니다.")
    browser.find("#next").click()
    browser.find("[data-filter=open]").click()
    assert "bad" not in [b.get_attribute("data-id") for b in browser.all("#list button")[:1]]
    browser.find("[data-filter=all]").click()
    browser.find("#search").send_keys("물로 헹굽")
    assert [b.get_attribute("data-id") for b in browser.all("#list button")] == ["bad"]


def test_a_reviewer_sees_the_rows_assigned_to_them(browser, six, tmp_path):
    review.write_review_page(six, tmp_path / "review.html", assigned=review.assign_drafts(six, ["민지", "서준"], 0))
    browser.open(tmp_path / "review.html")
    browser.run("localStorage.clear()")
    browser.open(tmp_path / "review.html", "서준")
    assert [b.get_attribute("data-id") for b in browser.all("#list button")] == [d.id for d in six[1::2]]
    assert "0 / 3" in browser.find("#count").text
    browser.find("#mine").click()
    assert len(browser.all("#list button")) == 6


def test_when_the_browser_cannot_save_it_says_so_and_exports_all_the_same(browser, made, six):
    browser.open(made, "민지")
    browser.run("Storage.prototype.setItem = () => { throw new Error('full') }")
    browser.type("output", "저장되지 않는 글")
    assert "NOT saved" in browser.find("#saved").text
    assert "저장되지 않는 글" in browser.export().read_text(encoding="utf-8")
    browser.run("state.unsaved.clear()")  # or the browser would ask before it leaves the page


def test_the_page_needs_nothing_from_outside_and_names_its_controls(browser, made):
    browser.browser.get_log("browser")  # what earlier pages said
    browser.open(made, "민지")
    assert browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)") == []
    unnamed = """return [...document.querySelectorAll('textarea, input:not([type=file]), select, button')]
        .filter((e) => !e.closest('dialog') && !(e.ariaLabel || e.labels?.length || e.textContent.trim()))
        .map((e) => e.outerHTML)"""
    assert browser.run(unnamed) == []
    assert [entry for entry in browser.browser.get_log("browser") if entry["level"] == "SEVERE"] == []
