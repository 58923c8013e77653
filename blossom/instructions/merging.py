"""Reviewers' files merged into one Korean data set; conflicts are found and settled."""

import json
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path

from blossom.common import paths
from blossom.instructions.drafts import lima_row
from blossom.instructions.readers import ADAPTATIONS
from blossom.instructions.review import FORMAT, hash_drafts

SETTLED = "settled.json"


@dataclass(frozen=True)
class Version:
    """One row by one reviewer; `edited` is the browser's time in UTC (ISO 8601)."""

    id: str
    reviewer: str
    fields: dict
    adaptation: str
    note: str
    done: bool
    edited: str


@dataclass
class Merged:
    """Several reviewers' files as one.

    rows       dict id -> Version, the settled rows in the order of the drafts
    conflicts  dict id -> list of Versions that differ, settled or not
    unsettled  ids of conflicts that nothing has settled
    undone     ids that nobody has marked as done
    doubled    number of rows that two or more reviewers did
    """

    drafts: list
    rows: dict = field(default_factory=dict)
    conflicts: dict = field(default_factory=dict)
    unsettled: list = field(default_factory=list)
    undone: list = field(default_factory=list)
    doubled: int = 0


def read_review(path, drafts):
    """The Versions in one reviewer's exported file.

    Raises ValueError naming the file and what is wrong: no such export, another data set's, an unknown row, fields
    missing, an unknown label, a done row with an empty text.
    """
    content = paths.read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a file exported by the review page ({FORMAT})")
    own, dataset = hash_drafts(drafts), str(content.get("dataset"))
    if dataset != own:
        raise ValueError(
            f"{path}: made for another dataset ({dataset[:12]}; these drafts are {own[:12]}); "
            "merge it with the drafts its page was made from"
        )
    reviewer, listed, found = content.get("reviewer"), content.get("rows") or [], {}
    if not isinstance(reviewer, str) or not reviewer.strip():
        raise ValueError(f"{path}: the file names no reviewer")
    if not isinstance(listed, list):
        raise ValueError(f"{path}: rows: expected a list, found {type(listed).__name__}")
    by_id = {d.id: d for d in drafts}
    for n, entry in enumerate(listed, 1):
        version = _read_version(entry, reviewer.strip(), by_id, f"{path}, row {n}")
        if version.id in found:
            raise ValueError(f"{path}: row {version.id!r} is there twice")
        found[version.id] = version
    return list(found.values())


def _read_version(entry, reviewer, by_id, where):
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or entry["id"] not in by_id:
        raise ValueError(f"{where}: no row of this dataset: {str(entry)[:60]!r}")
    draft, where, named = by_id[entry["id"]], f"{where} ({entry['id']})", entry.get("fields")
    known = isinstance(named, dict) and set(named) == set(draft.english)
    if not known or not all(isinstance(text, str) for text in named.values()):
        raise ValueError(f"{where}: expected text in {', '.join(draft.english)}, found {str(named)[:80]!r}")
    if entry.get("adaptation") not in ADAPTATIONS:
        raise ValueError(f"{where}: adaptation: expected one of {', '.join(ADAPTATIONS)}, found {entry.get('adaptation')!r}")
    note, done = entry.get("note", ""), entry.get("done", False)
    if not isinstance(note, str) or not isinstance(done, bool):
        raise ValueError(f"{where}: expected a note (text) and done (true or false)")
    tidy = {key: unicodedata.normalize("NFC", named[key].replace("\r\n", "\n")).strip() for key in draft.english}
    empty = [key for key in tidy if key != "input" and not tidy[key]]
    if done and empty:
        raise ValueError(f"{where}: {reviewer} marked it as done, but {empty[0]} is empty")
    return Version(draft.id, reviewer, tidy, entry["adaptation"], note.strip(), done, str(entry.get("edited", "")))


def merge_reviews(drafts, files, adjudication=None):
    """Several reviewers' files as one `Merged`. Only rows marked as done count; notes are joined when reviewers agree.

    files         exported files; of one reviewer's two versions of a row the later counts
    adjudication  settles conflicts: a file exported from the adjudication page, or JSON {row id: reviewer's name}

    Raises ValueError as `read_review` does, and for an adjudication of what is no conflict.
    """
    latest = {d.id: {} for d in drafts}  # id -> reviewer -> Version
    for version in sorted((v for file in files for v in read_review(file, drafts)), key=lambda v: v.edited):
        latest[version.id][version.reviewer] = version
    merged = Merged(drafts)
    done = {i: [v for v in versions.values() if v.done] for i, versions in latest.items()}
    merged.undone = [i for i, versions in done.items() if not versions]
    merged.doubled = sum(len(versions) > 1 for versions in done.values())
    merged.conflicts = {i: v for i, v in done.items() if any(_differ(v[0], other) for other in v[1:])}
    rulings = _read_adjudication(adjudication, merged) if adjudication else {}
    merged.unsettled = [i for i in merged.conflicts if i not in rulings]
    agreed = {i: _join_versions(versions) for i, versions in done.items() if versions and i not in merged.conflicts}
    settled = agreed | {i: version for i, version in rulings.items() if i in merged.conflicts}
    merged.rows = {i: settled[i] for i in done if i in settled}
    return merged


def merge_review_folder(drafts, folder):
    """`merge_reviews` of every .json file in a folder; `settled.json`, where there is one, is the adjudication."""
    files = sorted(Path(folder).glob("*.json"))
    settled = [f for f in files if f.name == SETTLED]
    return merge_reviews(drafts, [f for f in files if f.name != SETTLED], *settled)


def _differ(a, b):
    return a.fields != b.fields or a.adaptation != b.adaptation


def _join_versions(versions):
    """One Version of several with the same text and label, with all names and notes."""
    if len(versions) == 1:
        return versions[0]
    notes = " / ".join(f"{v.reviewer}: {v.note}" for v in versions if v.note)
    return replace(versions[-1], reviewer=", ".join(v.reviewer for v in versions), note=notes)


def _read_adjudication(path, merged):
    """What an adjudication file decides: dict id -> Version."""
    content = paths.read_json(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        return {v.id: v for v in read_review(path, merged.drafts) if v.done}
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an exported file or {{row id: reviewer}}, found {type(content).__name__}")
    rulings = {}
    for i, name in content.items():
        versions = {v.reviewer: v for v in merged.conflicts.get(i, [])}
        if name not in versions:
            there = f"it is between {', '.join(versions)}" if versions else "no two reviewers differ there"
            raise ValueError(f"{path}: {i}: {name!r} cannot settle it: {there}")
        rulings[i] = versions[name]
    return rulings


def write_merged(merged, path):
    """Write the data set as .jsonl: id, category, the LIMA fields, adaptation, source_id, note and reviewer of each row.

    Raises ValueError while a conflict is unsettled or nothing is done.
    """
    if merged.unsettled:
        few = ", ".join(merged.unsettled[:5])
        raise ValueError(
            f"{len(merged.unsettled)} conflicts are unsettled (first: {few}); settle them on the adjudication page, or "
            f"name whose text counts in {SETTLED}"
        )
    if not merged.rows:
        raise ValueError("no row is marked as done: nothing to write")
    category = {d.id: d.category for d in merged.drafts}
    lines = []
    for i, version in merged.rows.items():
        row = {"id": f"{i}-ko", "category": category[i]} | lima_row(version.fields)
        row |= {"adaptation": version.adaptation, "source_id": i, "note": version.note, "reviewer": version.reviewer}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    paths.write_text(path, "".join(lines))
