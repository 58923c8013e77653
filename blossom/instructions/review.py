"""People correct drafts (B, 4.1): an HTML page that needs no server, the reviewers' files merged, and what they changed."""

import difflib
import hashlib
import json
import re
import statistics
import unicodedata
from collections import Counter
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from markupsafe import Markup
from pydantic import ConfigDict, StringConstraints, ValidationError
from pydantic.dataclasses import dataclass

from blossom.common import pages, params, paths
from blossom.instructions import checks, readers

FORMAT = "blossom-review/1"
PAPER_TABLE_2 = checks.TABLES["paper_table_2"]  # lists of kind, before, after
SETTLED = re.compile(r"settled( ?\(\d+\))?\.json")  # a browser numbers a second download


def hash_drafts(drafts):
    """sha256 of the drafts, stored in a page and its exports; ValueError for no drafts, a repeated id, a lone surrogate."""
    if not drafts:
        raise ValueError("no drafts to review")
    name, times = Counter(d.id for d in drafts).most_common(1)[0]
    if times > 1:
        raise ValueError(f"drafts: id {name!r} is given twice")
    sha = hashlib.sha256()
    for draft in drafts:
        try:
            sha.update(json.dumps([draft.id, draft.english, draft.korean], ensure_ascii=False).encode())
        except UnicodeEncodeError as error:
            around = error.object[error.start - 20 : error.start]
            raise ValueError(f"draft {draft.id}: a broken character at {around!r}") from None
    return sha.hexdigest()


def write_review_page(drafts, path):
    """Write the HTML page on which reviewers correct these drafts, with the hints of `flag_draft`."""
    _write_page(drafts, [_page_row(d) for d in drafts], path, "한국어 LIMA 검토")


def write_adjudication_page(merged, path):
    """Write a page of the unsettled conflicts with each reviewer's text; its export, saved as settled.json, settles them."""
    by_id = {d.id: d for d in merged.drafts}
    rows = [_page_row(by_id[i]) | {"versions": [asdict(v) for v in merged.conflicts[i]]} for i in merged.unsettled]
    _write_page(merged.drafts, rows, path, "의견이 다른 행")


def _page_row(draft):
    fields = [{"key": k, "english": text, "draft": draft.korean[k]} for k, text in draft.english.items()]
    flags = [asdict(flag) for flag in checks.flag_draft(draft.english, draft.korean, draft.cut)]
    return {"id": draft.id, "category": draft.category, "fields": fields, "flags": flags}


def _write_page(drafts, rows, path, title):
    digest = hash_drafts(drafts)
    data = {"format": FORMAT, "digest": digest, "title": title, "kinds": checks.KINDS, "rows": rows}
    words = {"title": title, "digest": digest, "examples": PAPER_TABLE_2}
    paths.write_text(path, pages.assemble_page(Path(__file__).with_suffix(".html"), data, **words))


@dataclass(frozen=True, config=ConfigDict(strict=True))
class Version:
    """One reviewer's text of one row; `edited` is the browser's time (ISO 8601), in UTC where it names no zone."""

    id: str
    reviewer: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    fields: dict[str, str]
    adaptation: Literal[readers.ADAPTATIONS]
    note: str = ""
    done: bool = False
    edited: str = ""

    @property
    def time(self):
        """`edited` as a datetime, the earliest of all without it; ValueError when it is no time."""
        found = datetime.fromisoformat(self.edited or "0001-01-01")
        return found if found.tzinfo else found.replace(tzinfo=UTC)


class Merged(NamedTuple):
    """Several reviewers' files as one."""

    drafts: list
    rows: dict  # id -> Version, the settled rows in the order of the drafts
    conflicts: dict  # id -> Versions that differ, also where settled
    unsettled: list  # ids of the conflicts that are not settled
    undone: list  # ids that nobody has marked as done
    doubled: int  # number of rows that two or more reviewers did


def read_review(path, drafts):
    """Read a reviewer's exported file: a list of Version; ValueError names the file and row with something wrong."""
    content = paths.read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a file exported by the review page ({FORMAT})")
    paths.check_shape(content, path, {"dataset": str, "reviewer": str, "rows": list})
    if content["dataset"] != (own := hash_drafts(drafts)):
        told = f"{path}: made for another dataset ({content['dataset'][:12]}; these drafts are {own[:12]})"
        raise ValueError(f"{told}; merge it with the drafts its page was made from")
    names, versions = {d.id: list(d.english) for d in drafts}, []
    for n, entry in enumerate(content["rows"], 1):
        place = f"{path}, row {n}"
        if not isinstance(entry, dict) or str(entry.get("id")) not in names:
            raise ValueError(f"{place}: no row of this dataset: {str(entry)[:60]!r}")
        try:
            version = Version(**entry | {"reviewer": content["reviewer"]})
            _ = version.time
        except ValidationError as error:
            raise ValueError(f"{place}: {params.explain_error(error)}") from None
        except ValueError as error:
            raise ValueError(f"{place}: edited: expected a time (ISO 8601): {error}") from None
        fields = {k: unicodedata.normalize("NFC", t.replace("\r\n", "\n")).strip() for k, t in version.fields.items()}
        if sorted(fields) != sorted(names[version.id]):
            raise ValueError(f"{place}: expected text in {', '.join(names[version.id])}, found {str(list(fields))[:80]}")
        empty = [name for name, text in fields.items() if name != "input" and not text]
        if version.done and empty:
            raise ValueError(f"{place}: {version.reviewer} marked it as done, but {empty[0]} is empty")
        fields = {name: fields[name] for name in names[version.id]}
        versions.append(replace(version, fields=fields, note=version.note.strip()))
    return versions


def merge_reviews(drafts, files):
    """Merge reviewers' exported files (list of paths) into a `Merged`; only rows marked as done count.

    Of a reviewer's versions of a row the latest counts; where reviewers differ, that in the file called settled.json,
    unless one of them has edited the row after it.
    """
    latest, settled = {d.id: {} for d in drafts}, {}  # id -> reviewer -> Version; id -> Version
    shown = [Path(file) for file in files if not paths.is_hidden(Path(file).name)]
    exported = [(file.name, version) for file in shown for version in read_review(file, drafts)]
    for name, version in sorted(exported, key=lambda found: found[1].time):
        if not SETTLED.fullmatch(name):
            latest[version.id][version.reviewer] = version
        elif version.done:
            settled[version.id] = version
    done = {i: [v for v in versions.values() if v.done] for i, versions in latest.items()}
    conflicts = {i: v for i, v in done.items() if len({(*x.fields.items(), x.adaptation) for x in v}) > 1}
    settled = {i: v for i, v in settled.items() if all(v.time >= other.time for other in done[i])}
    rows = {i: settled.get(i) if i in conflicts else _join_versions(v) for i, v in done.items() if v}
    unsettled, undone = [i for i in conflicts if i not in settled], [i for i, versions in done.items() if not versions]
    doubled = sum(len(versions) > 1 for versions in done.values())
    return Merged(drafts, {i: v for i, v in rows.items() if v}, conflicts, unsettled, undone, doubled)


def _join_versions(versions):
    if len(versions) == 1:
        return versions[0]
    notes = " / ".join(f"{v.reviewer}: {v.note}" for v in versions if v.note)
    return replace(versions[-1], reviewer=", ".join(v.reviewer for v in versions), note=notes)


def write_merged(merged, path):
    """Write the data set as .jsonl; ValueError while a conflict is unsettled or when no row is done."""
    if merged.unsettled:
        count, first = len(merged.unsettled), ", ".join(merged.unsettled[:5])
        advice = "settle them on the adjudication page and save its file as settled.json"
        raise ValueError(f"{count} conflicts are unsettled (first: {first}); {advice}")
    if not merged.rows:
        raise ValueError("no row is marked as done: nothing to write")
    category, lines = {d.id: d.category for d in merged.drafts}, []
    for i, version in merged.rows.items():
        row = {"id": f"{i}-ko", "category": category[i]}
        row |= {name: version.fields[name] for name in ("instruction", "input", "output")}
        earlier = [text for name, text in version.fields.items() if name.startswith("history.")]
        row |= {"history": [list(pair) for pair in zip(earlier[::2], earlier[1::2], strict=True)]}
        row |= {"adaptation": version.adaptation, "source_id": i, "note": version.note, "reviewer": version.reviewer}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    paths.write_text(path, "".join(lines))


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
    shares = {a: [r["edit share"] for r in listed if r["adaptation"] == a] for a in readers.ADAPTATIONS}
    left = (checks.flag_draft(english[i], v.fields, (), v.adaptation) for i, v in merged.rows.items())
    states = {"rows": merged.drafts, "settled": merged.rows, "undone": merged.undone}
    states |= {"conflicts": merged.conflicts, "unsettled": merged.unsettled}
    return {name: len(rows) for name, rows in states.items()} | {
        "done by several": merged.doubled,
        "labels": {a: len(s) for a, s in shares.items()},
        "by reviewer": dict(Counter(r["reviewer"] for r in listed)),
        "as drafted": sum(not r["edit distance"] for r in listed),
        "edit share": {a: statistics.median(s) if s else None for a, s in shares.items()},
        "labelled but as drafted": [r["id"] for r in listed if r["adaptation"] != "none" and not r["edit distance"]],
        "flags left": checks.count_flags(left),
    }


def show_changes(before, after):
    """Markup that shows the words removed from `before` in red and those added in `after` in green."""
    a, b = (re.split(r"(?<=\s)(?=\S)", text) for text in (before, after))
    removed = Markup('<del style="background:#f8d9d4">{}</del>')
    new = Markup('<ins style="background:#cdeedd;text-decoration:none">{}</ins>')
    shown = []
    for what, i, j, k, n in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        cut, added = pages.escape_html("".join(a[i:j])), pages.escape_html("".join(b[k:n]))
        shown += [cut] if what == "equal" else [removed.format(cut) + " " if cut else "", new.format(added) * bool(added)]
    return Markup('<div style="white-space:pre-wrap;line-height:1.7">{}</div>').format(Markup("").join(shown))
