"""Executed notebooks as HTML files that open without a server.

Outputs of a notebook may contain anything, so every page has a Content-Security-Policy that allows no script (in the book:
only MathJax).
"""

import base64
import hashlib
from html import escape
from pathlib import Path

import jinja2
import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor, TagRemovePreprocessor
from pygments.formatters import HtmlFormatter

from blossom.common import paths

FOLDER = Path(__file__).parent  # page.html: a whole page; cells.html: a notebook's cells, with folded parameters
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


def wrap_page(title, body, math=False):
    """A whole HTML page (str) around `body`. With `math`, the page loads MathJax from the network for equations."""
    digest = base64.b64encode(hashlib.sha256(DOLLARS.encode()).digest()).decode()
    scripts = f"{MATHJAX} 'sha256-{digest}'" if math else "'none'"
    policy = f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; font-src {MATHJAX}"
    template = jinja2.Environment(autoescape=True).from_string((FOLDER / "page.html").read_text(encoding="utf-8"))
    style = HtmlFormatter(style="default").get_style_defs(".highlight")
    words = {"title": title, "body": body, "policy": policy, "code_style": style}
    return template.render(words, math=math, dollars=DOLLARS, mathjax=MATHJAX)


def write_report(notebook, target):
    """Write the report as HTML: notebook 07 as it ran, without code, and links to all executed notebooks beside `target`."""
    notebook, target = Path(notebook), Path(target)
    if not notebook.exists():
        remedy = f"delete {notebook.with_name('manifest.json')}, then `make run`"
        raise ValueError(f"{notebook}: no executed notebook; if it was run in JupyterLab, {remedy}")
    links = [f.relative_to(target.parent) for f in sorted(target.parent.glob("*/*/notebook.ipynb"))]
    listed = "".join(f'<li><a href="{escape(str(f))}">{escape(" · ".join(f.parts[:2]))}</a></li>' for f in links)
    body = convert_notebook(read_executed(notebook), code=False)
    body += f"<h2>The executed notebooks</h2><ul>{listed}</ul>"
    paths.write_text(target, wrap_page(f"Blossom at scale {target.parent.name}", body))
    return target
