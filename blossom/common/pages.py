"""HTML pages and tables in which text of models, files and people is shown as it is, and never runs."""

import base64
import hashlib
import html
import unicodedata
from pathlib import Path

import jinja2
import pandas as pd
from jinja2.utils import htmlsafe_json_dumps


def escape_html(text):
    """Escape `text` for HTML, and show control characters by their code: "<b>\u202e" -> "&lt;b&gt;[U+202E]"."""
    kept = "\n\t\u200c\u200d"  # the last two are parts of emoji
    shown = (c if c in kept or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else f"[U+{ord(c):04X}]" for c in text)
    return html.escape("".join(shown))


def assemble_page(template, data, **words):
    """Make one HTML file (str) that needs no network from a jinja2 template and the style and script beside it.

    The script reads `data` (JSON-able) from the element #data; `words` fill the template, escaped. The page's
    Content-Security-Policy allows only its own style and script, and no requests or frames.
    """
    folders = (Path(__file__), Path(template))
    text = {kind: "".join(f.with_suffix(f".{kind}").read_text(encoding="utf-8") for f in folders) for kind in ("css", "js")}
    hashes = {kind: base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for kind, t in text.items()}
    policy = f"default-src 'none'; style-src 'sha256-{hashes['css']}'; script-src 'sha256-{hashes['js']}'; "
    policy += "base-uri 'none'; form-action 'none'"
    embedded = htmlsafe_json_dumps(data, ensure_ascii=False)  # "</script>" and "<!--" in the data are escaped
    return fill_template(template, policy=policy, style=text["css"], script=text["js"], data=embedded, **words)


def fill_template(file, **words):
    """Fill a jinja2 template, which may extend others in its folder, with `words`, escaped: HTML (str)."""
    folder = jinja2.FileSystemLoader(Path(file).parent)
    return jinja2.Environment(autoescape=True, loader=folder).get_template(Path(file).name).render(words)


def show_table(frame, precision=2):
    """Show a DataFrame in a notebook (pandas Styler) with every text escaped, which `frame.style` does not do."""

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
