"""The report as one page of HTML."""

import base64
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

PAGES = Path(__file__).parent


@dataclass
class Section:
    """A part of the report's page: paragraphs, tables (HTML), pictures (caption, base64 PNG), links."""

    heading: str
    prose: list = field(default_factory=list)
    tables: list = field(default_factory=list)
    figures: list = field(default_factory=list)
    links: list = field(default_factory=list)


def html_table(table, paper_rows=False):
    """A DataFrame as an HTML table, everything escaped; verdicts, and rows whose `source` is the paper, are marked."""
    html = table.to_html(index=False, escape=True, border=0)
    if paper_rows:
        body = html.split("<tbody>")
        rows = ['<tr class="paper">' + r if "<td>the paper</td>" in r else "<tr>" + r for r in body[1].split("<tr>")[1:]]
        html = body[0] + "<tbody>" + "".join(rows)
    for verdict in ("supported", "not supported"):
        html = html.replace(f"<td>{verdict}</td>", f'<td class="{verdict.split()[0]}">{verdict}</td>')
    return html


def picture(file, caption):
    """A PNG file as the page embeds it."""
    return {"caption": caption, "data": base64.b64encode(Path(file).read_bytes()).decode()}


def gallery(runs):
    """A Section for each stage's own figures, with links to the executed notebooks (relative to outputs/<scale>)."""
    shown, links = [], []
    for run in runs.values():
        links.append({"href": f"{run.recipe}/{run.stage}/notebook.ipynb", "text": f"{run.recipe} · {run.stage}"})
        for file in sorted((run.folder / "figures").glob("*.png")):
            shown.append(picture(file, f"{run.recipe}, {run.stage}: {file.stem.replace('_', ' ')}"))
    return Section("Every figure of the run", figures=shown), Section("The executed notebooks", links=links)


def page(title, subtitle, sections):
    """The report as one self-contained HTML page (str); every text is escaped."""
    environment = Environment(loader=FileSystemLoader(PAGES), autoescape=True)
    return environment.get_template("report.html").render(title=title, subtitle=subtitle, sections=sections)


def preference_pictures(runs):
    """Figures 2 to 5 as stage 06 drew them from verdicts of people and judges; none where nobody judged."""
    files = [
        f
        for run in runs.values()
        if run.stage == "06_qualitative_eval"
        for f in (run.folder / "figures").glob("figure*.png")
    ]
    return [picture(f, f"{f.parts[-4]}: in the form of the paper's {f.stem.replace('_', ' ')}") for f in sorted(files)]
