"""The notebooks as a course: short cells, exercises whose solutions run, links; the report and the book made from them."""

import ast
import re
import shlex
import symtable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from IPython.core.formatters import DisplayFormatter
from nbformat.v4 import new_output
from papermill.cli import papermill
from test_pages import ATTACKS, show_everywhere

from blossom.assets.registry import REGISTRY
from blossom.benchmark.papers import read_papers
from blossom.common import params, paths, stages
from blossom.report import convert
from blossom.training.settings import check_options
from blossom.vocabulary.loading import load_tokenizer

stream = partial(new_output, "stream")
every_notebook = pytest.mark.parametrize("stage", stages.STAGES)


def notebook(stage):
    return nbformat.read(paths.ROOT / "notebooks" / f"{stage}.ipynb", 4)


def import_names(stage):
    code, names = "\n".join(c.source for c in notebook(stage).cells if c.cell_type == "code"), {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(ast.unparse(node), names)
    return names


def run_cell(stage, marker, **given):
    """Run the code cell with `marker` after the notebook's imports: all names that there are then."""
    (cell,) = (c.source for c in notebook(stage).cells if c.cell_type == "code" and marker in c.source)
    exec(cell, names := import_names(stage) | given)
    return names


def prose(stage):
    return "\n\n".join(c.source for c in notebook(stage).cells if c.cell_type == "markdown")


def solutions(stage, language):
    folded = re.findall(r"<details><summary>Solution</summary>\n\n(.*?)</details>", prose(stage), re.S)
    return [block for text in folded for block in re.findall(rf"```{language}\n(.*?)```", text, re.S)]


@every_notebook
def test_a_notebook_is_short_and_so_are_its_code_cells(stage):
    assert 2 < convert.estimate_reading(notebook(stage)) < 20
    cells = [c for c in notebook(stage).cells if c.cell_type == "code" and "parameters" not in c.metadata.get("tags", [])]
    assert [c.source for c in cells if len(c.source.splitlines()) > 15] == []
    tables = [symtable.symtable(text, stage, "exec") for text in [c.source for c in cells] + solutions(stage, "python")]
    taken = {symbol.get_name() for table in tables for symbol in table.get_symbols() if symbol.is_assigned()}
    assert taken.isdisjoint(vars(stages.STAGES[stage]())), "the second cell, run again, would take it for the parameter"


@every_notebook
def test_every_equation_becomes_mathml(stage):
    page = BeautifulSoup(convert.convert_notebook(notebook(stage), code=False), "html.parser")
    assert [math for math in page.find_all("math") if "\\" in math.text] == []  # a command that latex2mathml does not know
    assert convert.MathRenderer().inline_math(r"\left( <b>") == r"<code>\left( &lt;b&gt;</code>"  # shown as written
    assert not re.search(r"\$[\w\\]", "".join(p.text for p in page.select("p, li") if not p.find("code")))


@every_notebook
def test_every_exercise_has_a_folded_solution(stage):
    exercises = len(re.findall(r"^\*\*\d\.\*\*", text := prose(stage), re.M))
    assert 2 <= exercises == text.count("<details><summary>Solution</summary>") == text.count("</details>") <= 4


@every_notebook
def test_commands_of_solutions_name_files_and_parameters_that_exist(stage):
    assert (found := [line for block in solutions(stage, "sh") for line in block.strip().splitlines()])
    for line in found:
        program, *words = shlex.split(line)
        asked = SimpleNamespace(**papermill.make_context(program, words).params)
        file = paths.ROOT / asked.notebook_path
        assert program == "papermill" and file.exists() and asked.output_path.endswith(".ipynb"), line
        values = {name: yaml.safe_load(value) for name, value in asked.parameters}
        values |= {name: value for text in asked.parameters_yaml for name, value in yaml.safe_load(text).items()}
        layers, ran = [params.read_params(paths.ROOT / layer) for layer in asked.parameters_file], file.stem
        named = [layer.pop("recipe") for layer in (values, *layers) if "recipe" in layer]
        recipe = named[0] if named else stages.STAGES[ran]().recipe
        p = params.effective_params(ran, "laptop", recipe, **values)
        assert p != stages.STAGES[ran](), f"{line}: changes nothing"
        if ran == "03_bilingual_pretraining":
            check_options(p)


@every_notebook
def test_links_of_a_notebook_lead_to_files_beside_it(stage):
    files = [link for link in re.findall(r"\]\(([^)]+)\)", prose(stage)) if not link.startswith("https://")]
    assert files and [file for file in files if not (paths.ROOT / "notebooks" / file).exists()] == []


def run_solutions(outputs, recipe, stage):
    p = params.effective_params(stage, "smoke", recipe, outputs=str(outputs))
    run = SimpleNamespace(folder=paths.stage_folder(p.outputs, p.scale, p.recipe, stage))
    names, blocks = import_names(stage) | {"p": p, "run": run}, solutions(stage, "python")
    for n, block in enumerate(blocks, 1):
        exec(compile(block, f"{stage}: Python block {n} of the solutions", "exec"), names)
    return len(blocks)


def check_book(folder):
    pages = {file.name: BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser") for file in folder.glob("*.html")}
    places = {name: {tag.get(key) for tag in page.find_all() for key in ("id", "name")} for name, page in pages.items()}
    outside = set()
    for name, page in pages.items():
        for address in filter(None, (tag.get("href") or tag.get("src") for tag in page.select("[href], [src]"))):
            if address.startswith(("http://", "https://")):
                outside.add(address)
            elif not address.startswith("data:"):
                file, _, place = address.partition("#")
                assert (folder / (file := unquote(file))).exists(), f"{name}: {address} is not there"
                if place and (not file or file in pages):
                    assert {place, unquote(place)} & places[file or name], f"{name}: no place {place!r}"
    return outside


def executed(folder, stage, recipe, source, *outputs, tags=()):
    path = folder / recipe / stage / "notebook.ipynb"
    path.parent.mkdir(parents=True)
    code = nbformat.v4.new_code_cell("train()", outputs=list(outputs), metadata={"tags": list(tags)})
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(source), code]), path)
    return path


def test_a_book_leads_from_notebook_to_notebook_and_is_searched(tmp_path, browser):
    with pytest.raises(ValueError, match=str(tmp_path)):
        convert.write_book(tmp_path)  # no stage has run
    first, second, third = list(stages.STAGES)[:3]
    text = f"# 01 · One\n**Question** What?\n\n[next]({second}.ipynb)\n## 둘째 &lt;절>\n$x_1$ 먹는 공룡"
    two = f"# 02 · Two <b>\n**Question** Why?\n\n[next]({third}.ipynb)"
    runs = (first, "base", text), (second, "blossom-bi", two), (first, "book", "#")
    homes = [executed(tmp_path, *run).parent for run in runs]
    paths.write_text(homes[0] / "model", "made anew, so that the two others are old")
    for home, read in zip(homes[1:], homes, strict=False):
        read = f"{{outputs}}/{(read / 'model').relative_to(tmp_path.parent)}"
        paths.write_json(home / "manifest.json", {"inputs": {read: "of the model before"}})
    paths.write_text(tmp_path / "book/gone.html", "a page of a run that is gone")
    paths.write_json(tmp_path / "report/07_report/metrics.json", {"results": ["better <b>"]})
    index = convert.write_book(tmp_path)
    assert "<li>better &lt;b&gt;</li>" in index.read_text("utf-8")
    old = [f.stem[-4:] for f in index.parent.glob("*.html") if "has changed since" in f.read_text("utf-8")]
    assert sorted(old) == ["book", "m-bi"] and homes[2].exists(), "a recipe called book stays"
    assert index.read_text("utf-8").count("older than what it read") == 2 and not (index.parent / "gone.html").exists()
    assert check_book(index.parent) == set()  # nothing is loaded from outside
    browser.open(index).find("#search").send_keys("공룡 먹는")
    assert [e.text for e in browser.all("#results a")] == ["01 · One: 둘째 <절>"]
    browser.find("#results a").click()
    assert browser.find(".toc .h2").text == "둘째 <절>" and browser.find("main math msub").text and browser.errors() == []
    page = (index.parent / f"{first}-base.html").read_text(encoding="utf-8")
    assert f'<a href="{second}-blossom-bi.html">02 · Two &lt;b&gt;</a>' in page
    assert "What?" in index.read_text(encoding="utf-8") and "../report.html" not in index.read_text(encoding="utf-8")
    page = (index.parent / f"{second}-blossom-bi.html").read_text(encoding="utf-8")
    assert third not in page, "a stage that has not run is not linked"


def test_a_log_is_one_block_without_warnings_and_absolute_paths(tmp_path, monkeypatch):
    told = f"see {paths.ROOT}/params, {Path.home()}/y and {tmp_path}\n"
    outputs = stream(text=f"step 1\n{told}"), stream(name="stderr", text="a warning"), stream(text="step 2\n")
    page = convert.convert_notebook(convert.read_executed(executed(tmp_path, "03", "base", "# 03", *outputs)))
    assert f"step 1\nsee params, ~/y and outputs/{tmp_path.name}\nstep 2" in page and "a warning" not in page
    monkeypatch.setattr(Path, "resolve", lambda file: Path("/near/root.ipynb"))  # in no folder of runs
    assert told in convert.read_executed(tmp_path / "base/03/notebook.ipynb").cells[1].outputs[0].text


def test_a_report_has_no_code_and_none_of_the_course_only_cells(tmp_path):
    own = executed(tmp_path, "07_report", "report", "# 07", stream(text="measured"))
    page = convert.write_report(own, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "measured" in page and "train()" not in page and 'href="report/07_report/notebook.ipynb"' in page
    with pytest.raises(ValueError, match=r"07_report/notebook.ipynb: .*manifest.json"):
        convert.write_report(tmp_path / "other/07_report/notebook.ipynb", tmp_path / "report.html")
    other = convert.read_executed(executed(tmp_path, "07", "ablation", "## A", stream(text="an exercise"), tags=["course"]))
    assert "an exercise" not in convert.fold_sections(other)
    other.cells[0].metadata["tags"] = ["course"]
    assert convert.fold_sections(other, opened=-1) == "", "no heading is left with nothing below it"


def test_no_text_in_an_output_runs_is_a_link_or_becomes_a_formula(tmp_path, browser):
    kinds = ("text/html", "text/markdown", "text/latex", "application/javascript", "image/svg+xml")
    for n, attack in enumerate(ATTACKS):
        bundles = [DisplayFormatter().format(one)[0] for one in show_everywhere(attack)]
        outputs = [new_output("display_data", bundle) for bundle in (*bundles, *({kind: attack} for kind in kinds[1:]))]
        outputs += [stream(text=attack), new_output("error", ename=attack, evalue=attack, traceback=[attack])]
        own = executed(tmp_path, "07_report", f"{n}{attack.replace('/', '_')}", "# 07\n\n## One", *outputs)
    files = [convert.write_report(own, tmp_path / "report.html"), *convert.write_book(tmp_path).parent.glob("*.html")]
    assert len(files) == len(ATTACKS) + 2
    for file in files:
        browser.open(file)
        is_index = file.name == "index.html"
        if is_index:
            browser.find("#search").send_keys("document.title")
            assert browser.find("#results mark").text == "document.title"
        made = browser.all("a[href^='javascript'], img, svg, iframe, math, [onerror], [onmouseover]")
        assert [element.get_attribute("outerHTML") for element in made] == []
        assert browser.run("return document.scripts.length") == 2 * is_index and browser.driver.title != "ran"
    own = executed(tmp_path, "07_report", "last", "# 07", new_output("display_data", {"text/html": ATTACKS[0]}))
    guarded = convert.write_report(own, tmp_path / "report.html").read_text(encoding="utf-8")
    unguarded = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", guarded)
    for text, ran in ((guarded, False), (unguarded, True)):  # even markup that got in would not run
        paths.write_text(tmp_path / "page.html", text)
        assert (browser.open(tmp_path / "page.html").driver.title == "ran") == ran


def test_every_equation_table_and_figure_of_both_papers_is_named_in_its_notebook():
    counts = {"Bllossom": {"equation": 3, "table": 6, "figure": 5}, "paper X": {"table": 4, "figure": 1}}
    for paper, treated in read_papers()["treated"].items():
        assert list(treated) == [f"{kind} {n + 1}" for kind, most in counts.pop(paper).items() for n in range(most)]
        for item, (_, stage) in treated.items():
            assert re.search(item.replace(" ", r"s? \(?"), prose(stage), re.I), f"{stage} does not name {item} of {paper}"
    assert not counts


def test_cells_count_control_tokens_as_text_both_tables_of_an_untied_base_and_no_new_rows_where_there_are_none(capsys):
    given = {"loaded": {"tiny": load_tokenizer("tiny-byte-level")}, "lines": {"general_korean": ["a <|im_end|>"]}}
    run_cell("01_tokenization_analysis", "assert by_hand", **given)
    run_cell("01_tokenization_analysis", "def find_shared_bytes", **given, p=SimpleNamespace(sentence="가"))
    assert capsys.readouterr().out == "tiny: 가 share nothing\n"
    for untie in (False, True):
        given = {"p": SimpleNamespace(base_model="tiny-byte-level", untie=untie), "size": 1, "order": [1], "run": Mock()}
        given |= {"unit": "word", "budget": pd.DataFrame({"most useful first": [2.0], "donor's order": [3.0]}, [1])}
        assert run_cell("02_vocab_merge", "megabyte =", unseen=["a"], **given)["megabyte"] == (1 + untie) * 64 * 2e-6
    made = run_cell("03_bilingual_pretraining", '(fig, "new_rows")', first_new_row=lambda model: None, trained=None)
    assert made["never"] == 0  # the model card tells of rows that were never read
    assert any('"the paper\'s": (' in c.source for c in notebook("02_vocab_merge").cells), "compare_with_paper reads it"


def test_every_folder_of_data_and_every_asset_has_its_licence_in_one_place():
    text = (paths.ROOT / "data/README.md").read_text(encoding="utf-8")
    folders = [f.name for f in (paths.ROOT / "data").iterdir() if f.is_dir()]
    assert folders and all(f"`{folder}/" in text for folder in folders)
    lines = text.splitlines()
    missing = {n: asset.licence for n, asset in REGISTRY.items() if asset.licence != "CC BY 4.0, authored for this project"}
    missing = {n: kind for n, kind in missing.items() if not any(f"`{n}`" in line and kind in line for line in lines)}
    assert missing == {}, "data/README.md: a row for each, with the licence that blossom/assets gives"


def test_the_map_of_the_module_has_a_line_for_every_file():
    listed = set()
    for line in (paths.ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if folder := re.match(r"(\w+)/ {2,}", line):
            top = folder[1]
        elif file := re.match(r"  ([\w/]+\.py) ", line):
            listed.add(f"{top}/{file[1]}")
    files = (f.relative_to(paths.ROOT / "blossom").as_posix() for f in (paths.ROOT / "blossom").rglob("*.py"))
    assert listed == {file for file in files if not file.endswith("__init__.py")}
