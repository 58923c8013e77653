"""Text of models, files and people in HTML: pages, notebook tables."""

import json
import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from IPython.core.formatters import DisplayFormatter

from blossom.common import figures, pages, paths, stages
from blossom.instructions import review
from tests.cases import read_cases

ATTACKS = read_cases(__file__)["attacks"]


def tags_of(page):
    return BeautifulSoup(page, "html.parser").find_all()


def test_markup_is_escaped_and_characters_that_turn_text_around_are_spelled_out():
    assert pages.escape_html("<b>\u202e\x00 안녕\n") == "&lt;b&gt;[U+202E][U+0000] 안녕\n"


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_page_is_whole_and_lets_no_other_script_run(tmp_path, attack):
    head = '<meta http-equiv="Content-Security-Policy" content="{{ policy }}"><style>{{ style | safe }}</style>'
    body = '<p>{{ title }}</p><script id="data">{{ data | safe }}</script><script>{{ script | safe }}</script>'
    (tmp_path / "x.html").write_text(head + body)
    (tmp_path / "x.css").write_text("p { color: red }")
    (tmp_path / "x.js").write_text("const ready = 1;")
    html = pages.assemble_page(tmp_path / "x.html", {attack: attack}, title=attack)
    found = tags_of(html)
    assert [tag.name for tag in found] == ["meta", "style", "p", "script", "script"]
    assert json.loads(found[3].string) == {attack: attack} and found[3]["id"] == "data"
    assert "default-src 'none'" in html.replace("&#39;", "'") and "unsafe" not in html and "const ready = 1;" in html


def show_everywhere(text):
    """What notebooks show a text of a model, a person or a file in: tables, lists, changes, and pandas' own tables."""
    frame = pd.DataFrame({text: [text, {"a": text}], "share": [0.123, None], "n": [12345, 0.004]}, [text, "b"], dtype=object)
    frame = frame.rename_axis(index=text, columns=text)
    changes = review.show_changes(f"less {text}", f"{text} more")
    tables = [pages.show_table(frame), pages.show_table(frame.reset_index(drop=True), formats={"share": "{:.1%}"}), frame]
    return [*tables, pages.show_html(text), pages.show_html(changes), pages.show_list(text, [text])]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_notebook_shows_texts_as_text(attack):
    shown = [DisplayFormatter().format(one)[0]["text/html"] for one in show_everywhere(attack)]
    for html in shown:
        layout = {"style", "table", "thead", "tbody", "tr", "th", "td", "div", "p", "b", "ul", "li", "ins", "del"}
        assert {tag.name for tag in tags_of(html)} <= layout and "mathjax_ignore" in html
        assert not {name for tag in tags_of(html) for name in tag.attrs if name.startswith("on")}
    assert all(words in shown[0] for words in ("0.12<", ">12,345<", "–", ">b<", ">0.004<"))
    assert "12.3%<" in shown[1] and ">1<" not in shown[1] and "<del" in shown[4] and "<ins" in shown[4]


def test_a_dollar_sign_in_a_figure_is_no_formula(tmp_path):
    with figures.house_style():
        figure, axis = plt.subplots()
        axis.set(title="$\\href{x}$", xlabel="$$", xticks=[0], xticklabels=["$\\nope$"])  # as a formula: ValueError
        figure.savefig(tmp_path / "x.png")


def test_every_series_of_a_figure_is_drawn_in_a_style_of_its_own():
    table = pd.DataFrame({"value": [0.5], "low": [0.4], "high": [0.6]}, ["task"])
    with figures.house_style():
        _, axis = plt.subplots()
        figures.plot_intervals(axis, dict.fromkeys(["base", *(f"model {n}" for n in range(13))], table), 0)
    lines, names = axis.get_legend_handles_labels()
    assert names == ["base", *(f"model {n}" for n in range(13))]
    points = [line[0] for line in lines]
    assert len({(p.get_color(), p.get_marker()) for p in points}) == 14 and points[0].get_color() == figures.COLOURS["base"]
    styles = figures.style_series([*figures.MODELS, *range(14), "base (reference)"]).values()
    assert len({(colour, line) for colour, _, line in styles}) == 15 + len(figures.MODELS)
    colours = {colour for colour, _, _ in styles} - {figures.COLOURS[text] for text in figures.LABELS}
    assert len(colours) == len(figures.MODELS) + len(figures.CYCLE) >= 14


@pytest.mark.parametrize("stage", stages.STAGES)
def test_nothing_but_the_pages_module_makes_html_of_a_notebook_s_data(stage):
    cells = json.loads((paths.ROOT / "notebooks" / f"{stage}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(c["source"]) for c in cells)
    assert "from blossom.common.pages import" in code  # it also keeps JupyterLab from typesetting tables
    unsafe = r"\.style\b|to_html|\bescape=|\b(?:HTML|Markdown|Latex|Math|Javascript|SVG|IFrame|Markup)\(|set_caption\([^\"]"
    assert re.findall(unsafe, code) == []
