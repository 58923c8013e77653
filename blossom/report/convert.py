"""Executed notebooks as HTML files that open without a server or a network: the report, and a book of all notebooks."""

import json
import re
from functools import partialmethod
from pathlib import Path

import latex2mathml.converter
import nbformat
from bs4 import BeautifulSoup, NavigableString
from markupsafe import Markup, escape
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from PIL import Image
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from blossom.common import pages, params, paths, runs, stages

FOLDER = Path(__file__).parent  # templates: page.html of all pages, cells.html of a notebook's cells, with folded parameters
READS = re.compile(r"^\*\*Reads\*\* .*?(\n\n|\Z)", re.DOTALL | re.MULTILINE)  # said of a notebook, not of the report
SHOWN = ["text/html", "image/png", "image/jpeg", "text/plain"]  # not scripts, and no Markdown or formulas made of data


class MathRenderer(IPythonRenderer):
    """Markdown as HTML, with equations as MathML, which browsers show without a script."""

    def inline_math(self, body, display="inline"):
        try:
            formula = latex2mathml.converter.convert(body, display=display)
        except Exception:  # it has many kinds; a formula that it cannot read is shown as it was written
            return f"<code>{escape(body)}</code>"
        return re.sub(r"(?<!<msub>)<mi>(log|ln)</mi>(?=<m[in])", r'<mi>\1</mi><mspace width="0.17em" />', formula)

    block_math = partialmethod(inline_math, display="block")


def read_executed(file):
    """Read an executed notebook, without progress bars and warnings; its folder of all runs, if any, is called outputs."""
    text = Path(file).read_text(encoding="utf-8")
    for root in Path(file).resolve().parents[3:-1][:1]:
        text = text.replace(json.dumps(str(root), ensure_ascii=False)[1:-1], "outputs")
    notebook = nbformat.reads(text, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            kept = [o for o in cell.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})]
            cell.outputs = [o for o in kept if not (o.output_type == "stream" and o.name == "stderr")]
            drawn = re.search(r'run\.figure\([\w.]+, f?"(\w+)', cell.source)
            for picture in sorted(Path(file).parent.glob(f"figures/{drawn[1]}*.png"))[:1] if drawn else ():
                cell.metadata["alt"] = Image.open(picture).info.get("Title")  # for readers who cannot see the figure
    return notebook


def convert_notebook(notebook, code=True):
    """Convert a notebook's cells to HTML (str). Without `code`, only text and outputs."""
    words = {"config": Config(NbConvertBase={"display_data_priority": SHOWN}), "exclude_input": not code}
    exporter = HTMLExporter(extra_template_paths=[str(FOLDER)], template_file="cells.html", **words)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    markdown = MarkdownWithMath(renderer=MathRenderer(escape=False, anchor_link_text=""))
    exporter.register_filter("markdown2html", markdown.render)
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    return runs.shorten_paths(exporter.from_notebook_node(notebook)[0])


def list_sections(cells):
    """The headings in a notebook's HTML: a list of dicts (level, id, heading, text: what stands below it)."""
    sections = []
    for node in BeautifulSoup(cells, "html.parser").descendants:
        if node.name in ("h1", "h2", "h3") and node.get("id"):
            sections.append({"level": node.name, "id": node["id"], "heading": node.get_text().strip(), "text": ""})
        elif sections and type(node) is NavigableString:  # other kinds are styles and comments
            sections[-1]["text"] += node
    return sections


def render_page(template, title, data=None, **words):
    """A whole HTML page (str) of a template here; with `data` (JSON-able), the script beside the template runs."""
    script = "" if data is None else (FOLDER / template).with_suffix(".js").read_text(encoding="utf-8")
    styles = {name: HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("default", "github-dark")}
    return pages.fill_template(FOLDER / template, script, title=title, data=data, code_styles=styles, **words)


def write_report(notebook, target):
    """Write the report as HTML: notebook 07 as it ran, without code, and links to all executed notebooks beside `target`."""
    notebook, target = Path(notebook), Path(target)
    if not notebook.exists():
        remedy = f"delete {notebook.with_name('manifest.json')}, then `make run`"
        raise ValueError(f"{notebook}: no executed notebook; if it was run in JupyterLab, {remedy}")
    all_of_them = [f.relative_to(target.parent) for f in sorted(target.parent.glob("*/*/notebook.ipynb"))]
    words = {"cells": fold_sections(read_executed(notebook)), "notebooks": all_of_them}
    paths.write_text(target, render_page("report.html", f"Blossom at scale {target.parent.name}", **words))
    return target


def fold_sections(notebook, opened=6):
    """Convert a notebook to HTML (Markup) without code and cells tagged "course"; sections after `opened` are folded."""
    cells, parts = [cell for cell in notebook.cells if "course" not in cell.metadata.get("tags", [])], []
    for cell in cells:
        texts = [cell.source]
        if cell.cell_type == "markdown":
            texts = re.split(r"^(?=## )", READS.sub("", cell.source), flags=re.M)
        for text in filter(None, texts):
            if not parts or text.startswith("## ") and cell.cell_type == "markdown":
                parts.append([])
            parts[-1].append(nbformat.from_dict(cell | {"source": text}))
    shown = []
    for n, part in enumerate(parts):
        title = part[0].source.splitlines()[0].lstrip("# ")
        if n > opened:
            part[0].source = part[0].source.partition("\n")[2]
        cells = Markup(convert_notebook(nbformat.from_dict(notebook | {"cells": part}), code=False))
        folded = Markup("<details class='section'><summary>{}</summary>{}</details>")
        shown.append(folded.format(title, cells) if n > opened else cells)
    return Markup("").join(shown)


def estimate_reading(notebook):
    """Minutes to read a notebook, at 240 words (Brysbaert 2019) or 12 lines of code a minute; folded text is left out."""
    words = lines = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            words += len(re.sub(r"<details>.*?</details>", "", cell.source, flags=re.S).split())
        elif not {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            lines += len(re.findall(r"^(?!import |from |\s*$).", cell.source, re.M))
    return words / 240 + lines / 12


def write_book(folder):
    """Write the HTML pages of the executed notebooks in `folder` (outputs/<scale>); returns the path of the index."""
    folder = Path(folder).resolve()
    chapters = [chapter for stage in stages.STAGES if (chapter := _read_chapter(folder, stage))]
    if not chapters:
        raise ValueError(f"{folder}: no executed notebook (*/<stage>/notebook.ipynb); `make run` makes them")
    names, found = {c["stage"]: c["page"] for c in chapters}, []
    for page in (folder / "book").glob("*.html"):  # of runs that are gone; a recipe may be called book too
        page.unlink()
    for before, chapter, after in zip([None, *chapters], chapters, [*chapters[1:], None], strict=False):
        for recipe, notebook in chapter["notebooks"].items():
            words = {"before": before, "after": after, "recipe": recipe, "older": recipe in chapter["older"]}
            words["cells"] = _link_pages(convert_notebook(notebook), names)
            words["sections"], name = list_sections(words["cells"]), f"{chapter['stage']}-{recipe}.html"
            if name == chapter["page"]:
                found += [section | {"page": name, "title": chapter["title"]} for section in words["sections"]]
            paths.write_text(folder / "book" / name, render_page("chapter.html", chapter["title"], **words))
    words = {"scale": folder.name, "chapters": chapters, "has_report": (folder / "report.html").exists(), "results": []}
    for file in folder.glob("report/07_report/metrics.json"):
        words["results"] = paths.read_json(file).get("results", [])
    paths.write_text(folder / "book" / "index.html", render_page("book.html", "Blossom", found, **words))
    return folder / "book" / "index.html"


def _read_chapter(folder, stage):
    """What the book shows of a stage (None: it has not run). The recipe with most parents is first: its page is linked."""

    def depth(recipe):
        return len(params.recipe_lineage(recipe)) if params.recipe_file(recipe).exists() else 0

    files = {file.parents[1].name: file for file in sorted(folder.glob(f"*/{stage}/notebook.ipynb"))}
    notebooks = {recipe: read_executed(files[recipe]) for recipe in sorted(files, key=depth, reverse=True)}
    if not notebooks:
        return None
    recipe, notebook = next(iter(notebooks.items()))
    first = notebook.cells[0].source
    question = re.search(r"\*\*Question\*\*\s*(.+?)\s*(\n\n|\n\*\*|$)", first, re.S)
    about = {"stage": stage, "page": f"{stage}-{recipe}.html", "notebooks": notebooks}
    about["older"] = [recipe for recipe in notebooks if _is_older(files[recipe].parent)]
    about |= {"title": first.splitlines()[0].lstrip("# "), "question": question[1] if question else ""}
    return about | {"minutes": max(1, round(estimate_reading(notebook)))}


def _is_older(folder):
    """Whether the run in a folder is older than what it read, or a run that it read is."""
    if not (folder / "manifest.json").exists():
        return False
    inputs = paths.read_json(folder / "manifest.json", {"inputs": runs.HASHES})["inputs"]
    read = {runs.locate_input(folder, name).parent for name in inputs if Path(name).is_relative_to(runs.OUTPUTS)}
    return bool(runs.find_changed_input(folder, {"inputs": inputs})) or any(map(_is_older, read - {folder}))


def _link_pages(html, names):
    """Turn links between notebooks into links between pages, `names` {stage: page}, or text where a stage has not run."""
    for stage, name in names.items():
        html = html.replace(f'href="{stage}.ipynb"', f'href="{name}"')
    return re.sub(r'<a href="(\w+)\.ipynb"[^>]*>(.*?)</a>', r"\2", html)
