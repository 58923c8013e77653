"""Answers side by side in a notebook. Answers are data: everything is escaped, nothing in them is run or followed."""

import html
import unicodedata

LONGEST = 1500  # characters of an answer that are shown
STYLE = (
    "<style>.blossom-pairs{border-collapse:collapse;width:100%;table-layout:fixed;"
    "font-family:'Noto Sans KR','NanumGothic','Apple SD Gothic Neo','Malgun Gothic',sans-serif}"
    ".blossom-pairs td,.blossom-pairs th{border:1px solid #ccc;padding:6px 8px;text-align:left!important;vertical-align:top;"
    "white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px}"
    ".blossom-pairs .note{color:#666;font-size:11px}</style>"
)


def side_by_side(pairs, notes=()):
    """An HTML table: prompt, answer of model A, answer of model B.

    pairs  list of dicts: prompt_id, kind, language, prompt, model_a, model_b, answer_a, answer_b
    notes  for each pair a pair of short remarks shown under its answers, e.g. their languages
    """
    if not pairs:
        return "<p>no answers</p>"
    head = "".join(f"<th>{visible(t)}</th>" for t in ("prompt", pairs[0]["model_a"], pairs[0]["model_b"]))
    rows = []
    for n, pair in enumerate(pairs):
        remarks = notes[n] if notes else ("", "")
        cells = [_cell(pair["prompt"], pair["language"], f"{pair['prompt_id']} · {pair['kind']}")]
        cells += [_cell(pair[f"answer_{side}"], "", remark) for side, remark in zip("ab", remarks, strict=True)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"{STYLE}<table class='blossom-pairs'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(text, language, note):
    cut = f" … ({len(text):,} characters)" if len(text) > LONGEST else ""
    shown = visible(text[:LONGEST]) + cut if text.strip() else "<i>(empty)</i>"
    tongue = f" lang='{html.escape(language, quote=True)}'" if language else ""
    return f"<td><div dir='auto'{tongue}>{shown}</div>{f'<div class=note>{visible(note)}</div>' if note else ''}</td>"


def visible(text):
    """Text as HTML that shows it: markup escaped, control and direction marks (which could reorder a page) spelled out.

    Example: "<b>\u202e" -> "&lt;b&gt;[U+202E]"
    """
    return html.escape("".join(c if _harmless(c) else f"[U+{ord(c):04X}]" for c in text))


def _harmless(character):
    joiners = "\u200c\u200d"  # inside emoji
    return character in "\n\t" + joiners or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
