"""The executed notebooks of a scale as one HTML book: `python -m blossom.report.book outputs/laptop`."""

import argparse
import re
from html import escape
from pathlib import Path

from blossom.common import params, paths, shell, stages
from blossom.report.convert import convert_notebook, read_executed, wrap_page


def estimate_reading(notebook):
    """Minutes to read a notebook, at 240 words (Brysbaert 2019) or 12 lines of code a minute.

    Folded text, parameters, imports and empty lines are not counted.
    """
    words = lines = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            words += len(re.sub(r"<details>.*?</details>", "", cell.source, flags=re.S).split())
        elif not {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            lines += len(re.findall(r"^(?!import |from |\s*$).", cell.source, re.M))
    return words / 240 + lines / 12


def find_chapters(folder):
    """{stage: paths of its executed notebooks below `outputs/<scale>`}, the recipe with the most ancestors first.

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


def write_book(folder):
    """Write `folder`/book from the notebooks below `folder` (outputs/<scale>); returns the path of its index."""
    folder = Path(folder).resolve()
    found = find_chapters(folder)
    notebooks = {file: read_executed(file) for files in found.values() for file in files}
    first = {stage: files[0] for stage, files in found.items()}
    names = {stage: _page_name(file) for stage, file in first.items()}
    headings = {stage: _read_heading(notebooks[file]) for stage, file in first.items()}
    titles, questions = ({stage: heading[n] for stage, heading in headings.items()} for n in (0, 1))
    order, entries = list(found), []
    for n, (stage, files) in enumerate(found.items()):
        around = [(names[s], titles[s]) if s else None for s in (order[n - 1] if n else None, *order[n + 1 : n + 2], None)]
        bar = _navigation(*around[:2])
        for file in files:
            body = _link_pages(convert_notebook(notebooks[file]), names)
            page = f"{bar}<p>Recipe {escape(file.parents[1].name)}</p>{body}{bar}"
            paths.write_text(folder / "book" / _page_name(file), wrap_page(titles[stage], page, math=True))
        links = ", ".join(f'<a href="{_page_name(f)}">{escape(f.parents[1].name)}</a>' for f in files)
        minutes = max(1, round(estimate_reading(notebooks[files[0]])))
        entry = f'<a href="{names[stage]}"><b>{escape(titles[stage])}</b></a><br>{escape(questions[stage])}'
        entries.append(f"<li>{entry}<br><small>{minutes} minutes to read · run for {links}</small></li>")
    report = '<p><a href="../report.html">The report of this run</a></p>' if (folder / "report.html").exists() else ""
    index = f"<h1>Blossom at scale {escape(folder.name)}</h1><p>The notebooks as they ran.</p><ul>{''.join(entries)}</ul>"
    paths.write_text(folder / "book" / "index.html", wrap_page("Blossom", index + report))
    return folder / "book" / "index.html"


def _page_name(file):
    return f"{file.parent.name}-{file.parents[1].name}.html"


def _read_heading(notebook):
    """(title, question) of a notebook, from its first cell."""
    first = notebook.cells[0].source
    question = re.search(r"\*\*Question\*\*\s*(.+?)\s*(\n\n|\n\*\*|$)", first, re.S)
    return first.splitlines()[0].lstrip("# "), " ".join(question[1].split()) if question else ""


def _navigation(before, after):
    """Links to the earlier page, the index and the next page; `before` and `after` are (file, title) or None."""
    left = f'<a href="{before[0]}">← {escape(before[1])}</a>' if before else "<span></span>"
    right = f'<a href="{after[0]}">{escape(after[1])} →</a>' if after else "<span></span>"
    return f'<nav>{left}<a href="index.html">Index</a>{right}</nav>'


def _link_pages(html, names):
    """Links to notebooks become links to pages; `names` {stage: page}. Where a stage has not run, only the text stays."""
    for stage, name in names.items():
        html = html.replace(f'href="{stage}.ipynb"', f'href="{name}"')
    return re.sub(r'<a href="(\w+)\.ipynb"[^>]*>(.*?)</a>', r"\2", html)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m blossom.report.book", description=__doc__)
    parser.add_argument("folder", nargs="?", default=paths.ROOT / "outputs/laptop", help="outputs/<scale>, after `make run`")
    shell.run(lambda: print(write_book(parser.parse_args().folder)))
