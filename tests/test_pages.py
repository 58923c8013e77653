"""Text of models, files and people in HTML: pages, notebook tables."""

import json

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from blossom.common import pages

ATTACKS = [
    "<script>alert(1)</script>",
    "</td></tr></table><iframe src=javascript:alert(1)>",
    "' onmouseover='alert(1)",
    "</script><!-- <script> \u2028 {{ 7 * 7 }}",
]


def tags_of(page):
    return BeautifulSoup(page, "html.parser").find_all()


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
    found = tags_of(html)
    assert [tag.name for tag in found] == ["meta", "style", "p", "script", "script"]
    assert json.loads(found[3].string) == {attack: attack} and found[3]["id"] == "data"
    assert "default-src 'none'" in html.replace("&#39;", "'") and "unsafe" not in html and "const ready = 1;" in html


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_table_shows_its_texts_headers_and_index_as_text(attack):
    frame = pd.DataFrame({attack: [attack, {"a": attack}], "share": [0.123456, None], "n": [12345, 2]}, index=[attack, "b"])
    html = pages.show_table(frame).to_html()
    assert {tag.name for tag in tags_of(html)} <= {"style", "table", "thead", "tbody", "tr", "th", "td"}
    assert not {name for tag in tags_of(html) for name in tag.attrs if name.startswith("on")}
    assert "0.12<" in html and "12,345" in html and "–" in html and ">b<" in html
    assert ">1<" not in pages.show_table(frame.reset_index(drop=True)[["share"]]).to_html()
