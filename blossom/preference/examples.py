"""Answers side by side in a notebook. Answers are data: everything is escaped, nothing in them is run or followed."""

import html
from collections import Counter

from blossom.common.pages import escape_html
from blossom.preference import measures
from blossom.preference.verdicts import PAIR

LONGEST = 1500  # characters of an answer that are shown
STYLE = (
    "<style>.blossom-pairs{border-collapse:collapse;width:100%;table-layout:fixed;"
    "font-family:'Noto Sans KR','NanumGothic','Apple SD Gothic Neo','Malgun Gothic',sans-serif}"
    ".blossom-pairs td,.blossom-pairs th{border:1px solid #ccc;padding:6px 8px;text-align:left!important;vertical-align:top;"
    "white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px}"
    ".blossom-pairs .note{color:#666;font-size:11px}</style>"
)


def show_pairs(pairs, notes=()):
    """An HTML table: prompt, answer of model A, answer of model B.

    pairs  list of dicts: prompt_id, kind, language, prompt, model_a, model_b, answer_a, answer_b
    notes  for each pair a pair of short remarks shown under its answers, e.g. their languages
    """
    if not pairs:
        return "<p>no answers</p>"
    head = "<th>prompt</th><th>A</th><th>B</th>"
    rows = []
    for n, pair in enumerate(pairs):
        under = notes[n] if notes else ("", "")
        cells = [_cell(pair["prompt"], pair["language"], f"{pair['prompt_id']} · {pair['kind']}")]
        sides = zip("ab", under, strict=True)
        cells += [_cell(pair[f"answer_{s}"], "", " · ".join(filter(None, (pair[f"model_{s}"], note)))) for s, note in sides]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"{STYLE}<table class='blossom-pairs'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def describe_languages(pairs):
    """For each pair the remarks under its answers: their language, and what is wrong with it."""

    def one(answer, asked):
        found = measures.measure_answer(answer, asked)
        told = {
            "ko": "Korean",
            "en": "English",
            "mixed": "two languages mixed",
            "other": "another language",
            "none": "no words",
        }
        return told[found["answer_language"]] + ("" if found["answered_in_language"] else " — not the prompt's language")

    return [[one(pair[f"answer_{side}"], pair["language"]) for side in "ab"] for pair in pairs]


def choose_examples(verdicts, pairs, each=2):
    """Pairs that model A won and pairs that it lost, with who said so: (pairs, remarks) for `show_pairs`.

    verdicts  table of `verdicts.make_verdicts`, a judge's orders settled;  pairs  those that were judged
    each      most pairs won, and most pairs lost, of every two models and language
    """
    first = verdicts[verdicts["look"] == 1]
    said = {key: dict(zip(rows.rater, rows.winner, strict=True)) for key, rows in first.groupby(PAIR)}
    chosen, taken = [], Counter()
    for pair in pairs:
        voters = said.get(tuple(pair[name] for name in PAIR), {})
        balance = sum(w == "a" for w in voters.values()) - sum(w == "b" for w in voters.values())
        group = (pair["model_a"], pair["model_b"], pair["language"], balance > 0)
        if balance and taken[group] < each:
            taken[group] += 1
            chosen.append((pair, voters, balance > 0))
    chosen.sort(key=lambda one: not one[2])  # what was won first
    shown = [pair for pair, _, _ in chosen]
    notes = describe_languages(shown)
    for note, (_, voters, _) in zip(notes, chosen, strict=True):
        for n, side in enumerate("ab"):
            names = [rater for rater, winner in voters.items() if winner == side]
            note[n] += f" · preferred by {', '.join(names)}" if names else ""
    return shown, notes


def _cell(text, language, note):
    cut = f" … ({len(text):,} characters)" if len(text) > LONGEST else ""
    shown = escape_html(text[:LONGEST]) + cut if text.strip() else "<i>(empty)</i>"
    tongue = f" lang='{html.escape(language, quote=True)}'" if language else ""
    return f"<td><div dir='auto'{tongue}>{shown}</div>{f'<div class=note>{escape_html(note)}</div>' if note else ''}</td>"
