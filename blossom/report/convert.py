"""Executed notebooks as HTML files that open without a server.

Outputs of a notebook may contain anything, so every page has a Content-Security-Policy that allows no script (in the book:
only MathJax).
"""

import base64
import hashlib
from pathlib import Path

import jinja2
import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor, TagRemovePreprocessor
from pygments.formatters import HtmlFormatter

from blossom.common import paths

FOLDER = Path(__file__).parent  # templates: page.html of all pages, cells.html of a notebook's cells, with folded parameters
PAGES = jinja2.Environment(autoescape=True, loader=jinja2.FileSystemLoader(FOLDER))
MATHJAX = "https://cdn.jsdelivr.net/npm/mathjax@3/"
DOLLARS = 'MathJax = {tex: {inlineMath: [["$", "$"]]}}'


def read_executed(file):
    """Read an executed notebook, without its progress bars and warnings."""
    notebook = nbformat.read(file, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            kept = [o for o in cell.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})]
            cell.outputs = [o for o in kept if not (o.output_type == "stream" and o.name == "stderr")]
    return notebook


def convert_notebook(notebook, code=True):
    """Convert a notebook's cells to HTML (str). Without `code`, only text and outputs, and no cell with the tag "course"."""
    exporter = HTMLExporter(extra_template_paths=[str(FOLDER)], template_file="cells.html", exclude_input=not code)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = exporter.exclude_anchor_links = True
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    if not code:
        exporter.register_preprocessor(TagRemovePreprocessor(remove_cell_tags={"course"}), enabled=True)
    return exporter.from_notebook_node(notebook)[0]


def render_page(template, title, math=False, **words):
    """A whole HTML page (str) of a template beside this file; with `math` it loads MathJax from the network."""
    digest = base64.b64encode(hashlib.sha256(DOLLARS.encode()).digest()).decode()
    scripts = f"{MATHJAX} 'sha256-{digest}'" if math else "'none'"
    policy = f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; font-src {MATHJAX}"
    words |= {"title": title, "policy": policy, "math": math, "dollars": DOLLARS, "mathjax": MATHJAX}
    style = HtmlFormatter(style="default").get_style_defs(".highlight")
    return PAGES.get_template(template).render(words, code_style=style)


def write_report(notebook, target):
    """Write the report as HTML: notebook 07 as it ran, without code, and links to all executed notebooks beside `target`."""
    notebook, target = Path(notebook), Path(target)
    if not notebook.exists():
        remedy = f"delete {notebook.with_name('manifest.json')}, then `make run`"
        raise ValueError(f"{notebook}: no executed notebook; if it was run in JupyterLab, {remedy}")
    all_of_them = [f.relative_to(target.parent) for f in sorted(target.parent.glob("*/*/notebook.ipynb"))]
    words = {"cells": convert_notebook(read_executed(notebook), code=False), "notebooks": all_of_them}
    paths.write_text(target, render_page("report.html", f"Blossom at scale {target.parent.name}", **words))
    return target
