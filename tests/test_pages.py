"""Text of models, files and people in HTML: pages, notebook tables, answers side by side."""

import json
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blossom.common import pages
from blossom.preference.examples import show_pairs

ATTACKS = [
    "<script>alert(1)</script>",
    "</td></tr></table><iframe src=javascript:alert(1)>",
    "' onmouseover='alert(1)",
    "</script><!-- <script>",
]


class Tags(HTMLParser):
    """The tags and attributes of a page; `data` is what its #data element holds."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.data, self.inside = [], set(), "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.inside = ("id", "data") in attrs

    def handle_data(self, data):
        self.data += data if self.inside else ""

    def handle_endtag(self, tag):
        self.inside = False


def test_markup_is_escaped_and_characters_that_turn_text_around_are_spelled_out():
    assert pages.escape_html("<b>\u202e\x00 안녕\n") == "&lt;b&gt;[U+202E][U+0000] 안녕\n"


@settings(deadline=None, max_examples=50)
@given(st.text(alphabet="<>/!-'\"&\\ script\u2028\u2029\x00한😀"))
@example(ATTACKS[3])
def test_data_cannot_end_its_element_and_comes_back_as_it_was(text):
    html = f'<script type="application/json" id="data">{pages.embed_json([text])}</script><p>'
    found = Tags(html)
    assert found.tags == ["script", "p"] and json.loads(found.data) == [text]
    assert "<" not in pages.embed_json([text])


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_page_is_whole_and_lets_no_other_script_run(tmp_path, attack):
    (tmp_path / "x.html").write_text(
        '<meta http-equiv="Content-Security-Policy" content="{{ policy }}"><style>{{ style | safe }}</style>'
        '<p>{{ title }}</p><script id="data">{{ data | safe }}</script><script>{{ script | safe }}</script>'
    )
    (tmp_path / "x.css").write_text("p { color: red }")
    (tmp_path / "x.js").write_text("const ready = 1;")
    pages.write_page(tmp_path / "out.html", tmp_path / "x.html", {attack: attack}, title=attack)
    html = (tmp_path / "out.html").read_text(encoding="utf-8")
    found = Tags(html)
    assert found.tags == ["meta", "style", "p", "script", "script"] and json.loads(found.data) == {attack: attack}
    assert "default-src 'none'" in html.replace("&#39;", "'") and "unsafe" not in html and "const ready = 1;" in html


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_table_shows_its_texts_headers_and_index_as_text(attack):
    frame = pd.DataFrame({attack: [attack, {"a": attack}], "share": [0.123456, None], "n": [12345, 2]}, index=[attack, "b"])
    html = pages.show_table(frame).to_html()
    assert set(Tags(html).tags) <= {"style", "table", "thead", "tbody", "tr", "th", "td"}
    assert not {name for name in Tags(html).attributes if name.startswith("on")}
    assert "0.12<" in html and "12,345" in html and "–" in html and ">b<" in html
    assert ">1<" not in pages.show_table(frame.reset_index(drop=True)[["share"]]).to_html()


def shown(answer_a, answer_b="", prompt="질문?", kind="advice"):
    about = {"prompt_id": "p-1", "kind": kind, "language": "ko", "prompt": prompt, "model_a": "<ours>", "model_b": "base"}
    return show_pairs([about | {"answer_a": answer_a, "answer_b": answer_b}], notes=[("ko", "<b>en</b>")])


@settings(deadline=None, max_examples=50)
@given(st.one_of(st.text(), st.sampled_from(ATTACKS)))
def test_an_answer_is_text_whatever_it_contains(text):
    found = Tags(shown(text, text, prompt=text, kind=text))
    assert set(found.tags) <= {"style", "table", "thead", "tbody", "tr", "th", "td", "div", "i"}
    assert found.attributes <= {"class", "dir"}


def test_empty_and_endless_answers_are_said_to_be():
    page = shown("가" * 100_000, " ")
    assert "(100,000 characters)" in page and "(empty)" in page and len(page) < 10_000
