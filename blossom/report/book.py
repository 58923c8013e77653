"""One HTML book from the executed notebooks of a scale: `python -m blossom.report.book outputs/laptop`.

The pages need no server and no network but for MathJax, which typesets the equations; without it they show as LaTeX.
"""

import argparse
import re
from html import escape
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from pygments.formatters import HtmlFormatter

from blossom.common import params, paths, shell, stages

MATH = """<script>MathJax = {tex: {inlineMath: [["$", "$"]]}}</script>
<script async src="https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"></script>"""
STYLE = """
body{max-width:60rem;margin:0 auto;padding:1rem;font:17px/1.55 system-ui,"Noto Sans KR",sans-serif;color:#222}
nav{display:flex;justify-content:space-between;gap:1rem;padding:.6rem 0;border-bottom:1px solid #ddd}
nav.end{border-top:1px solid #ddd;border-bottom:0;margin-top:2rem} a{color:#0072B2} a.anchor-link{display:none}
pre{background:#f7f7f5;padding:.7rem;overflow-x:auto;font-size:.82rem;line-height:1.4} code{font-size:.9em}
.output,.jp-OutputArea,.jp-Cell-outputWrapper{overflow-x:auto} img{max-width:100%;height:auto}
table{border-collapse:collapse;font-size:.85rem} td,th{padding:.25rem .6rem;border-bottom:1px solid #e3e3e3;text-align:right}
details{background:#f3f8f6;padding:.4rem .8rem;margin:.5rem 0} summary{cursor:pointer;font-weight:600} .prompt{display:none}
"""
PAGE = """{%- extends 'basic/index.html.j2' -%}
{%- block body -%}<main>{{ super() }}</main>{%- endblock body -%}
{%- block input -%}
{%- if 'parameters' in cell.metadata.tags or 'injected-parameters' in cell.metadata.tags -%}
<details><summary>{{ 'Parameters' if 'parameters' in cell.metadata.tags else 'Parameters of this run' }}</summary>
{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock input -%}"""


def reading_minutes(notebook):
    """Minutes to read a notebook: 240 words (Brysbaert 2019) or 12 lines of code a minute, without what is folded away."""
    words = lines = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            words += len(re.sub(r"<details>.*?</details>", "", cell.source, flags=re.S).split())
        elif not {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            lines += len(cell.source.splitlines())
    return words / 240 + lines / 12


def find_chapters(folder):
    """Paths of the executed notebooks below `outputs/<scale>`: of each stage the run of the longest line of recipes first.

    return  stage -> list of paths, in the order of the stages
    Raises FileNotFoundError when no stage has run.
    """

    def depth(path):
        name = path.parents[1].name
        return (len(params.recipe_lineage(name)) if params.recipe_file(name).exists() else 0, name)

    found = {stage: sorted(folder.glob(f"*/{stage}/notebook.ipynb"), key=depth, reverse=True) for stage in stages.STAGES}
    found = {stage: files for stage, files in found.items() if files}
    if not found:
        raise FileNotFoundError(f"{folder}: no executed notebook (*/<stage>/notebook.ipynb); `make run` makes them")
    return found


def _page_name(file):
    """File of a notebook's page: `05_benchmark_eval-base.html`."""
    return f"{file.parent.name}-{file.parents[1].name}.html"


def read_executed(file):
    """The executed notebook without progress bars and warnings, which mean nothing once the run is over."""
    notebook = nbformat.read(file, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            kept = [o for o in cell.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})]
            cell.outputs = [o for o in kept if not (o.output_type == "stream" and o.name == "stderr")]
    return notebook


def notebook_heading(notebook):
    """(title, question) of a notebook, from its first cell."""
    first = notebook.cells[0].source
    question = re.search(r"\*\*Question\*\*\s*(.+?)\n\n|\*\*Question\*\*\s*(.+?)\n", first + "\n\n", re.S)
    question = re.split(r"\n\*\*Reads", (question[1] or question[2]))[0] if question else ""
    return first.splitlines()[0].lstrip("# "), " ".join(question.split())


def _navigation(before, after, end=False):
    """The bar above and below a page: earlier page, index, next page, each (file, title) or None."""
    left = f'<a href="{before[0]}">← {escape(before[1])}</a>' if before else "<span></span>"
    right = f'<a href="{after[0]}">{escape(after[1])} →</a>' if after else "<span></span>"
    return f'<nav{" class=end" * end}>{left}<a href="index.html">Index</a>{right}</nav>'


def render_page(title, body, head=""):
    """A whole HTML page."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="stylesheet" href="style.css">{head}'
        f"</head><body>{body}</body></html>\n"
    )


def _link_pages(html, names):
    """Links from notebook to notebook, turned into links from page to page; `names` stage -> page."""
    for stage, name in names.items():
        html = html.replace(f'href="{stage}.ipynb"', f'href="{name}"')
    return re.sub(r'<a href="(\w+)\.ipynb"[^>]*>(.*?)</a>', r"\2", html)  # of a stage that has not run: the words alone


def write_book(folder):
    """Make `folder`/book from the notebooks below `folder` (outputs/<scale>); returns the path of its index."""
    folder = Path(folder).resolve()
    found = find_chapters(folder)
    exporter = HTMLExporter(extra_loaders=[DictLoader({"page.html.j2": PAGE})], template_file="page.html.j2")
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)  # a log in one block, not a block a line
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    notebooks = {file: read_executed(file) for files in found.values() for file in files}
    main = [(_page_name(files[0]), notebook_heading(notebooks[files[0]])[0]) for files in found.values()]
    names = {stage: _page_name(files[0]) for stage, files in found.items()}
    entries = []
    for n, (stage, files) in enumerate(found.items()):
        around = (main[n - 1] if n else None, main[n + 1] if n + 1 < len(main) else None)
        for file in files:
            title, question = notebook_heading(notebooks[file])
            body = _link_pages(exporter.from_notebook_node(notebooks[file])[0], names)
            page = (
                f"{_navigation(*around)}<p>Recipe {escape(file.parents[1].name)}</p>{body}{_navigation(*around, end=True)}"
            )
            paths.write_text(folder / "book" / _page_name(file), render_page(title, page, MATH))
        links = ", ".join(f'<a href="{_page_name(f)}">{escape(f.parents[1].name)}</a>' for f in files)
        minutes = max(1, round(reading_minutes(notebooks[files[0]])))
        entry = f'<li><a href="{names[stage]}"><b>{escape(title)}</b></a><br>{escape(question)}'
        entries.append(f"{entry}<br><small>{minutes} minutes to read · run for {links}</small></li>")
    report = '<p><a href="../report.html">The report of this run</a></p>' if (folder / "report.html").exists() else ""
    title = f"<h1>Blossom at scale {escape(folder.name)}</h1><p>The notebooks as they ran.</p>"
    index = f"{title}<ul>{''.join(entries)}</ul>{report}"
    paths.write_text(folder / "book" / "style.css", STYLE + HtmlFormatter(style="default").get_style_defs(".highlight"))
    paths.write_text(folder / "book" / "index.html", render_page("Blossom", index))
    return folder / "book" / "index.html"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m blossom.report.book", description="One HTML book from executed notebooks."
    )
    parser.add_argument("folder", nargs="?", default=paths.ROOT / "outputs/laptop", help="outputs/<scale>, after `make run`")
    shell.run(lambda: print(write_book(parser.parse_args().folder)))
