"""Text of models, files and people in HTML: it is shown, and never becomes markup or runs."""

import base64
import hashlib
import html
import json
import unicodedata
from pathlib import Path

import jinja2
import pandas as pd

from blossom.common import paths


def escape_html(text):
    """`text` as HTML that shows it: markup escaped, control and direction characters written by their number.

    Example: "<b>\u202e" -> "&lt;b&gt;[U+202E]"
    """
    return html.escape("".join(c if _is_harmless(c) else f"[U+{ord(c):04X}]" for c in text))


def _is_harmless(character):
    joiners = "\u200c\u200d"  # inside emoji
    return character in "\n\t" + joiners or unicodedata.category(character) not in ("Cc", "Cf", "Cs")


def embed_json(value):
    """`value` as JSON for a <script type="application/json">: neither "</script>" nor "<!--" in it can end the element."""
    text = json.dumps(value, ensure_ascii=False)
    for character in "<\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def write_page(path, template, data, **words):
    """Write `assemble_page(template, data, **words)` to `path`, whole or not at all."""
    paths.write_text(path, assemble_page(template, data, **words))


def assemble_page(template, data, **words):
    """One HTML file (str) that needs no server and no network, from `<name>.html`, `<name>.css` and `<name>.js`.

    template  path of the .html file, a jinja2 template; its style and script lie beside it, and pages.css and pages.js
              of this folder stand before them
    data      what the script reads from the element #data; any JSON-able value
    words     further values of the template, which are escaped

    Its Content-Security-Policy allows this style and this script and nothing else: no other script, no request, no frame.
    """
    style, script = (_read_assets(template, kind) for kind in ("css", "js"))
    policy = f"default-src 'none'; style-src {_hash_source(style)}; script-src {_hash_source(script)}; "
    policy += "base-uri 'none'; form-action 'none'"
    page = jinja2.Environment(autoescape=True).from_string(Path(template).read_text(encoding="utf-8"))
    return page.render(policy=policy, style=style, script=script, data=embed_json(data), **words)


def _read_assets(template, kind):
    files = (Path(__file__).with_suffix(f".{kind}"), Path(template).with_suffix(f".{kind}"))
    return "".join(file.read_text(encoding="utf-8") for file in files)


def _hash_source(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def show_table(frame, precision=2):
    """A DataFrame as a table for a notebook, with every text escaped, also in the headers; a pandas Styler.

    precision  decimals of the floats. Missing values are shown as "–". An index that only counts the rows is left out.
    Pandas' own `frame.style` escapes nothing: use this wherever a table holds answers, prompts, file names or data.
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
