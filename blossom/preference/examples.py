"""Answers side by side in a notebook. They are data: everything is escaped, nothing in them is rendered or run."""

from collections import Counter

from blossom.common.pages import escape_html
from blossom.preference.measures import measure_answer
from blossom.preference.statistics import first_looks
from blossom.preference.verdicts import PAIR

LONGEST = 1500  # characters of an answer that are shown
STYLE = (
    "<style>.blossom-pairs{border-collapse:collapse;width:100%;table-layout:fixed;"
    "font-family:'Noto Sans KR','NanumGothic','Apple SD Gothic Neo','Malgun Gothic',sans-serif}"
    ".blossom-pairs td,.blossom-pairs th{border:1px solid #ccc;padding:6px 8px;text-align:left!important;vertical-align:top;"
    "white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px}"
    ".blossom-pairs .note{color:#666;font-size:11px}</style>"
)
NAMES = {"ko": "Korean", "en": "English", "mixed": "two languages mixed", "other": "another language", "none": "no words"}


def show_pairs(pairs, notes=None):
    """An HTML table (str): prompt, answer of model A, answer of model B.

    pairs  list of dicts: prompt_id, kind, language, prompt, model_a, model_b, answer_a, answer_b
    notes  for each pair two remarks (str) under its answers; default: `describe_languages`
    """
    rows = []
    for pair, under in zip(pairs, notes or describe_languages(pairs), strict=True):
        cells = [_cell(pair["prompt"], f"{pair['prompt_id']} · {pair['kind']}")]
        cells += [_cell(pair[f"answer_{s}"], f"{pair[f'model_{s}']} · {note}") for s, note in zip("ab", under, strict=True)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "<thead><tr><th>prompt</th><th>A</th><th>B</th></tr></thead>"
    return f"{STYLE}<table class='blossom-pairs'>{head}<tbody>{''.join(rows)}</tbody></table>"


def _cell(text, note):
    cut = f" … ({len(text):,} characters)" if len(text) > LONGEST else ""
    shown = escape_html(text[:LONGEST]) + cut if text.strip() else "<i>(empty)</i>"
    return f"<td><div dir='auto'>{shown}</div><div class='note'>{escape_html(note)}</div></td>"


def describe_languages(pairs):
    """For each pair the remarks under its two answers: their language, and whether it is not the prompt's."""
    notes = []
    for pair in pairs:
        found = [measure_answer(pair[f"answer_{side}"], pair["language"]) for side in "ab"]
        wrong = ["" if one["answered_in_language"] else " — not the prompt's language" for one in found]
        notes.append([NAMES[one["answer_language"]] + end for one, end in zip(found, wrong, strict=True)])
    return notes


def choose_examples(verdicts, pairs, each=2):
    """Some pairs that model A won, then some that it lost: (pairs, notes) for `show_pairs`; the notes name the raters.

    verdicts  table of `make_verdicts`, settled;  pairs  those that were judged
    each      most pairs won, and most pairs lost, of every two models and language
    """
    votes = {key: dict(zip(rows.rater, rows.winner, strict=True)) for key, rows in first_looks(verdicts).groupby(PAIR)}
    chosen, taken = {True: [], False: []}, Counter()
    for pair in pairs:
        given = votes.get(tuple(pair[name] for name in PAIR), {})
        count = Counter(given.values())
        won, group = count["a"] > count["b"], (pair["model_a"], pair["model_b"], pair["language"], count["a"] > count["b"])
        if count["a"] != count["b"] and taken[group] < each:
            taken[group] += 1
            chosen[won].append((pair, given))
    shown = [pair for pair, _ in chosen[True] + chosen[False]]
    notes = describe_languages(shown)
    for note, (_, given) in zip(notes, chosen[True] + chosen[False], strict=True):
        for n, side in enumerate("ab"):
            names = [rater for rater, winner in given.items() if winner == side]
            note[n] += f" · preferred by {', '.join(names)}" if names else ""
    return shown, notes
