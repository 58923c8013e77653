"""The executed notebooks of a scale as one HTML book: `python -m blossom.report book outputs/laptop`."""

import re
from html import escape
from pathlib import Path

from blossom.common import params, paths, stages
from blossom.report.convert import convert_notebook, read_executed, wrap_page


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
    chapters = {stage: _read_stage(folder, stage) for stage in stages.STAGES}
    chapters = {stage: notebooks for stage, notebooks in chapters.items() if notebooks}
    if not chapters:
        raise ValueError(f"{folder}: no executed notebook (*/<stage>/notebook.ipynb); `make run` makes them")
    pages = {stage: f"{stage}-{next(iter(notebooks))}.html" for stage, notebooks in chapters.items()}
    headings = {stage: _read_heading(next(iter(notebooks.values()))) for stage, notebooks in chapters.items()}
    links = ["", *(f'<a href="{pages[s]}">{escape(title)}</a>' for s, (title, _) in headings.items()), ""]
    entries = []
    for n, (stage, notebooks) in enumerate(chapters.items()):
        bar = f'<nav><span>{links[n]}</span><a href="index.html">Index</a><span>{links[n + 2]}</span></nav>'
        for recipe, notebook in notebooks.items():
            page = f"{bar}<p>Recipe {escape(recipe)}</p>{_link_pages(convert_notebook(notebook), pages)}{bar}"
            paths.write_text(folder / "book" / f"{stage}-{recipe}.html", wrap_page(headings[stage][0], page, math=True))
        runs = ", ".join(f'<a href="{stage}-{recipe}.html">{escape(recipe)}</a>' for recipe in notebooks)
        minutes = max(1, round(estimate_reading(next(iter(notebooks.values())))))
        about = f"{escape(headings[stage][1])}<br><small>{minutes} minutes to read · run for {runs}</small>"
        entries.append(f"<li><b>{links[n + 1]}</b><br>{about}</li>")
    report = '<p><a href="../report.html">The report of this run</a></p>' if (folder / "report.html").exists() else ""
    index = f"<h1>Blossom at scale {escape(folder.name)}</h1><p>The notebooks as they ran.</p><ul>{''.join(entries)}</ul>"
    paths.write_text(folder / "book" / "index.html", wrap_page("Blossom", index + report))
    return folder / "book" / "index.html"


def _read_stage(folder, stage):
    """{recipe: executed notebook} of a stage; recipes with most parents first, since one page stands for the stage."""

    def depth(recipe):
        return len(params.recipe_lineage(recipe)) if params.recipe_file(recipe).exists() else 0

    files = {file.parents[1].name: file for file in sorted(folder.glob(f"*/{stage}/notebook.ipynb"))}
    return {recipe: read_executed(files[recipe]) for recipe in sorted(files, key=depth, reverse=True)}


def _read_heading(notebook):
    first = notebook.cells[0].source
    question = re.search(r"\*\*Question\*\*\s*(.+?)\s*(\n\n|\n\*\*|$)", first, re.S)
    return first.splitlines()[0].lstrip("# "), " ".join(question[1].split()) if question else ""


def _link_pages(html, pages):
    """Turn links between notebooks into links between `pages` {stage: page}, or plain text where a stage has not run."""
    for stage, name in pages.items():
        html = html.replace(f'href="{stage}.ipynb"', f'href="{name}"')
    return re.sub(r'<a href="(\w+)\.ipynb"[^>]*>(.*?)</a>', r"\2", html)
