"""Text of models, files and people in HTML: pages, notebook tables."""

import json
from html.parser import HTMLParser

import pandas as pd
import pytest

from blossom.common import pages

ATTACKS = [
    "<script>alert(1)</script>",
    "</td></tr></table><iframe src=javascript:alert(1)>",
    "' onmouseover='alert(1)",
    "</script><!-- <script> \u2028 {{ 7 * 7 }}",
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


def test_markup_is_escaped_and_characters_that_turn_text_around_are_spelled_out():
    assert pages.escape_html("<b>\u202e\x00 안녕\n") == "&lt;b&gt;[U+202E][U+0000] 안녕\n"


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_page_is_whole_and_lets_no_other_script_run(tmp_path, attack):
    (tmp_path / "x.html").write_text(
        '<meta http-equiv="Content-Security-Policy" content="{{ policy }}"><style>{{ style | safe }}</style>'
        '<p>{{ title }}</p><script id="data">{{ data | safe }}</script><script>{{ script | safe }}</script>'
    )
    (tmp_path / "x.css").write_text("p { color: red }")
    (tmp_path / "x.js").write_text("const ready = 1;")
    html = pages.assemble_page(tmp_path / "x.html", {attack: attack}, title=attack)
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
