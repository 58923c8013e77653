"""What the reviewers changed: edit distances, labels, and the hints that are left."""

import difflib
import re
import statistics
from collections import Counter
from html import escape

import numpy as np

from blossom.instructions.checks import count_flags, flag_draft
from blossom.instructions.readers import ADAPTATIONS


def edit_distance(a, b):
    """Levenshtein distance of two texts in characters. Example: "고양이", "고양이들" -> 1"""
    letters, steps = np.array([ord(letter) for letter in b], int), np.arange(len(b) + 1)
    row = steps  # distances of a's first n characters to every beginning of b
    for n, letter in enumerate(a, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (letters != ord(letter)))  # deletion, replacement
        row = np.minimum.accumulate(np.append(n, best) - steps) + steps  # insertions
    return int(row[-1])


def list_changes(merged):
    """A dict for each settled row; the edit distance is in characters, "edit share" is relative to the longer text."""
    result, drafts = [], {d.id: d.korean for d in merged.drafts}
    for i, version in merged.rows.items():
        distances = {k: edit_distance(drafts[i][k], text) for k, text in version.fields.items()}
        size = sum(max(len(drafts[i][k]), len(text)) for k, text in version.fields.items())
        row = {"id": i, "adaptation": version.adaptation, "reviewer": version.reviewer}
        row |= {"changed": ", ".join(k for k, n in distances.items() if n), "edit distance": sum(distances.values())}
        result.append(row | {"edit share": row["edit distance"] / max(1, size)})
    return result


def summarize_review(merged):
    """Count rows by state, label and reviewer, and list rows to look at again: a dict ("edit share": medians by label)."""
    listed, english = list_changes(merged), {d.id: d.english for d in merged.drafts}
    shares = {a: [r["edit share"] for r in listed if r["adaptation"] == a] for a in ADAPTATIONS}
    return {
        "rows": len(merged.drafts),
        "settled": len(merged.rows),
        "undone": len(merged.undone),
        "conflicts": len(merged.conflicts),
        "unsettled": len(merged.unsettled),
        "done by several": merged.doubled,
        "labels": {a: len(s) for a, s in shares.items()},
        "by reviewer": dict(Counter(r["reviewer"] for r in listed)),
        "as drafted": sum(not r["edit distance"] for r in listed),
        "edit share": {a: statistics.median(s) if s else None for a, s in shares.items()},
        "labelled but as drafted": [r["id"] for r in listed if r["adaptation"] != "none" and not r["edit distance"]],
        "flags left": count_flags(flag_draft(english[i], v.fields, (), v.adaptation) for i, v in merged.rows.items()),
    }


def show_changes(before, after):
    """HTML that shows the words removed from `before` in red and those added in `after` in green."""
    a, b = (re.split(r"(\s+)", text) for text in (before, after))
    html = []
    for what, i, j, k, n in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        cut, added = escape("".join(a[i:j])), escape("".join(b[k:n]))
        if what == "equal":
            html.append(cut)
        else:
            html.append(f'<del style="background:#f8d9d4">{cut}</del>' * bool(cut))
            html.append(f'<ins style="background:#cdeedd;text-decoration:none">{added}</ins>' * bool(added))
    return f'<div style="white-space:pre-wrap;line-height:1.7">{"".join(html)}</div>'
