"""HTML pages and tables in which text of models, files and people is shown as it is, and never runs."""

import base64
import hashlib
import html
import unicodedata
from functools import partial
from pathlib import Path

import jinja2
import pandas as pd
from IPython.display import HTML
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

pd.set_option("display.html.use_mathjax", False)  # in tables of a notebook, a text between dollar signs is no formula
pd.set_option("styler.html.mathjax", False)
pd.set_option("styler.format.escape", "html")


def escape_html(text):
    """Escape `text` for HTML (Markup), and show control characters by their code: "<b>\u202e" -> "&lt;b&gt;[U+202E]"."""
    kept = "\n\t\u200c\u200d"  # the last two are parts of emoji
    shown = (c if c in kept or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else f"[U+{ord(c):04X}]" for c in text)
    return Markup(html.escape("".join(shown)))


def _hash_source(text):
    """The name by which a Content-Security-Policy allows a script or style: 'sha256-...' (str)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def assemble_page(template, data, **words):
    """Make one HTML file (str) that needs no network from a jinja2 template and the style and script beside it.

    The script reads `data` (JSON-able) from the element #data; `words` fill the template, escaped.
    """
    folders = (Path(__file__), Path(template))
    text = {kind: "".join(f.with_suffix(f".{kind}").read_text(encoding="utf-8") for f in folders) for kind in ("css", "js")}
    embedded = htmlsafe_json_dumps(data, ensure_ascii=False)  # "</script>" and "<!--" in the data are escaped
    return fill_template(template, text["js"], _hash_source(text["css"]), style=text["css"], data=embedded, **words)


def fill_template(file, script="", styles="'unsafe-inline'", **words):
    """Fill a jinja2 template, which may extend others in its folder, with `words`, escaped: HTML (str).

    The page's Content-Security-Policy allows only this `script` and these `styles`, and no requests or frames.
    """
    policy = f"default-src 'none'; script-src {_hash_source(script)}; style-src {styles}; img-src data:; "
    words |= {"script": script, "policy": policy + "base-uri 'none'; form-action 'none'"}
    folder = jinja2.FileSystemLoader(Path(file).parent)
    return jinja2.Environment(autoescape=True, loader=folder).get_template(Path(file).name).render(words)


def show_html(markup):
    """Show a Markup, or a str, which is escaped, in a notebook; no part of it is a formula."""
    return HTML(f'<div class="tex2jax_ignore mathjax_ignore">{escape(markup)}</div>')


def show_list(title, lines=()):
    """Show a title in bold, unless it is empty, and a list of lines (each a str, shown as it is) in a notebook."""
    items = Markup("").join(Markup("<li>{}</li>").format(escape_html(line)) for line in lines)
    head = title and Markup("<p><b>{}</b></p>").format(escape_html(title))
    return show_html(head + (items and Markup("<ul>{}</ul>").format(items)))


def format_number(value, decimals, sign="-"):
    """Format a float. A small one, such as an interval's end, is not shown as 0: (0.0004, 3) -> 0.0004."""
    form = ".1g" if 1e-6 < abs(value) < 0.5 * 10**-decimals else f",.{decimals}f"
    return f"{value:{sign}{form}}"


def show_table(frame, precision=2, formats=None):
    """Show a DataFrame in a notebook (pandas Styler) with every text escaped, which `frame.style` does not do.

    formats  {column: format of its numbers, such as "{:.1%}"}; the others have `precision` decimals, as of `format_number`
    """

    def cell(value, form=None):
        if not isinstance(value, str) and pd.api.types.is_scalar(value) and pd.isna(value):
            return "–"
        if pd.api.types.is_float(value):
            return form.format(value) if form else format_number(value, precision)
        return f"{value:,}" if pd.api.types.is_integer(value) else escape_html(str(value))

    own = {name: partial(cell, form=form) for name, form in (formats or {}).items()}
    shown = frame.style.format({name: own.get(name, cell) for name in frame}).format_index(cell, axis=1)
    shown = shown.format_index_names(cell, axis=0).format_index_names(cell, axis=1)
    return shown.hide(axis="index") if isinstance(frame.index, pd.RangeIndex) else shown.format_index(cell, axis=0)
