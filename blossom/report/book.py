"""The executed notebooks of a scale as one HTML book: `python -m blossom.report book outputs/laptop`."""

import re
from pathlib import Path

from blossom.common import params, paths, stages
from blossom.report.convert import convert_notebook, read_executed, render_page


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
    pages = {c["stage"]: c["page"] for c in chapters}
    for before, chapter, after in zip([None, *chapters], chapters, [*chapters[1:], None], strict=False):
        for recipe, notebook in chapter["notebooks"].items():
            words = {"before": before, "after": after, "recipe": recipe}
            words["cells"] = _link_pages(convert_notebook(notebook), pages)
            page = render_page("chapter.html", chapter["title"], math=True, **words)
            paths.write_text(folder / "book" / f"{chapter['stage']}-{recipe}.html", page)
    words = {"scale": folder.name, "chapters": chapters, "has_report": (folder / "report.html").exists()}
    paths.write_text(folder / "book" / "index.html", render_page("book.html", "Blossom", **words))
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
    about |= {"title": first.splitlines()[0].lstrip("# "), "question": question[1] if question else ""}
    return about | {"minutes": max(1, round(estimate_reading(notebook)))}


def _link_pages(html, pages):
    """Turn links between notebooks into links between `pages` {stage: page}, or plain text where a stage has not run."""
    for stage, name in pages.items():
        html = html.replace(f'href="{stage}.ipynb"', f'href="{name}"')
    return re.sub(r'<a href="(\w+)\.ipynb"[^>]*>(.*?)</a>', r"\2", html)
