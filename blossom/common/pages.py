"""Text of models, files and people in HTML: it is shown, and never becomes markup or runs."""

import base64
import hashlib
import html
import unicodedata
from pathlib import Path

import jinja2
import pandas as pd
from jinja2.utils import htmlsafe_json_dumps


def escape_html(text):
    """`text` as HTML that shows it: markup escaped, control and direction characters written by their number.

    Example: "<b>\u202e" -> "&lt;b&gt;[U+202E]"
    """
    kept = "\n\t\u200c\u200d"  # the last two stand inside emoji
    shown = (c if c in kept or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else f"[U+{ord(c):04X}]" for c in text)
    return html.escape("".join(shown))


def assemble_page(template, data, **words):
    """One HTML file (str) that needs no server and no network, from `<name>.html`, `<name>.css` and `<name>.js`.

    template  path of the .html file, a jinja2 template; its style and script lie beside it, and pages.css and pages.js
              of this folder stand before them
    data      any JSON-able value, which the script reads from the element #data
    words     further values of the template, which are escaped

    Its Content-Security-Policy allows this style and this script and nothing else: no other script, no request, no frame.
    """
    folders = (Path(__file__), Path(template))
    text = {kind: "".join(f.with_suffix(f".{kind}").read_text(encoding="utf-8") for f in folders) for kind in ("css", "js")}
    hashes = {kind: base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for kind, t in text.items()}
    policy = f"default-src 'none'; style-src 'sha256-{hashes['css']}'; script-src 'sha256-{hashes['js']}'; "
    policy += "base-uri 'none'; form-action 'none'"
    page = jinja2.Environment(autoescape=True).from_string(Path(template).read_text(encoding="utf-8"))
    embedded = htmlsafe_json_dumps(data, ensure_ascii=False)  # no "</script>" or "<!--" in it can end the element
    return page.render(policy=policy, style=text["css"], script=text["js"], data=embedded, **words)


def show_table(frame, precision=2):
    """A DataFrame as a pandas Styler with every text escaped, which `frame.style` does not do: for notebooks.

    precision  decimals of the floats. Missing values are shown as "–". An index that only counts the rows is left out.
    """

    def cell(value):
        if isinstance(value, str):
            return escape_html(value)
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return "–"
        if pd.api.types.is_float(value):
            return f"{value:,.{precision}f}"
        return f"{value:,}" if pd.api.types.is_integer(value) else escape_html(str(value))

    shown = frame.style.format(cell).format_index(cell, axis=1)
    return shown.hide(axis="index") if isinstance(frame.index, pd.RangeIndex) else shown.format_index(cell, axis=0)
