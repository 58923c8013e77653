"""Executed notebooks as HTML files that open without a server; the report, the book and the sweeps' pages are made here.

Tables, logs and answers in a notebook's outputs are data. The Content-Security-Policy of every page allows no script but
MathJax (in the book), so nothing in the data can run.
"""

import base64
import hashlib
from html import escape
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor, TagRemovePreprocessor
from pygments.formatters import HtmlFormatter

from blossom.common import paths

MATHJAX = "https://cdn.jsdelivr.net/npm/mathjax@3/"
DOLLARS = 'MathJax = {tex: {inlineMath: [["$", "$"]]}}'
STYLE = """
body{max-width:62rem;margin:0 auto;padding:1rem;color:#222;
  font:17px/1.55 system-ui,"Noto Sans KR","Malgun Gothic",sans-serif}
h1{line-height:1.2} h2{margin-top:2.4rem;border-bottom:2px solid #009E73;padding-bottom:.2rem} a{color:#0072B2}
nav{display:flex;justify-content:space-between;gap:1rem;padding:.6rem 0;border-bottom:1px solid #ddd}
pre{background:#f7f7f5;padding:.7rem;overflow-x:auto;font-size:.82rem;line-height:1.4} code{font-size:.9em}
.output,.output_area,.rendered_html{overflow-x:auto} img{max-width:100%;height:auto} .prompt{display:none}
table{border:0;border-collapse:collapse;font-size:.88rem;margin:1rem 0} thead th{border-bottom:2px solid #888}
td,th{padding:.3rem .7rem;border:solid #e3e3e3;border-width:0 0 1px;text-align:left;vertical-align:top}
details{background:#f3f8f6;padding:.4rem .8rem;margin:.5rem 0} summary{cursor:pointer;font-weight:600}
"""
FOLDED = """{%- extends 'basic/index.html.j2' -%}
{%- block input -%}
{%- if 'parameters' in cell.metadata.tags or 'injected-parameters' in cell.metadata.tags -%}
<details><summary>{{ 'Parameters' if 'parameters' in cell.metadata.tags else 'Parameters of this run' }}</summary>
{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock input -%}"""


def read_executed(file):
    """An executed notebook without its progress bars and warnings."""
    notebook = nbformat.read(file, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            kept = [o for o in cell.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})]
            cell.outputs = [o for o in kept if not (o.output_type == "stream" and o.name == "stderr")]
    return notebook


def convert_notebook(notebook, code=True):
    """The HTML (str) of a notebook's cells. Without `code`, only text and outputs, and no cell with the tag "course"."""
    exporter = HTMLExporter(extra_loaders=[DictLoader({"folded.html.j2": FOLDED})], template_file="folded.html.j2")
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = exporter.exclude_anchor_links = True
    if not code:
        exporter.exclude_input = True
        exporter.register_preprocessor(TagRemovePreprocessor(remove_cell_tags={"course"}), enabled=True)
    return exporter.from_notebook_node(notebook)[0]


def wrap_page(title, body, math=False):
    """A whole HTML page (str) around `body`. With `math`, MathJax is loaded from the network for the equations."""
    allowed, script = "'none'", ""
    if math:
        digest = base64.b64encode(hashlib.sha256(DOLLARS.encode()).digest()).decode()
        allowed = f"{MATHJAX} 'sha256-{digest}'"
        script = f'<script>{DOLLARS}</script><script async src="{MATHJAX}es5/tex-mml-chtml.js"></script>'
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; font-src {MATHJAX}"
    style = STYLE + HtmlFormatter(style="default").get_style_defs(".highlight")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{style}</style>{script}'
        f"</head><body>{body}</body></html>\n"
    )


def write_report(notebook, target):
    """Write the report: notebook 07 as it ran, without code, and links to the executed notebooks below `target`'s folder.

    Raises ValueError when the executed notebook is missing, because it was run in JupyterLab.
    """
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


def embed_image(file):
    """An <img> element (str) that contains the PNG file."""
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(Path(file).read_bytes()).decode()}">'
