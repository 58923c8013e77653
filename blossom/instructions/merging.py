"""Reviewers' files in, one Korean data set out: merged, conflicts found and settled."""

import json
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from blossom.common import paths
from blossom.instructions.drafts import lima_row
from blossom.instructions.readers import ADAPTATIONS
from blossom.instructions.review import FORMAT, hash_drafts

SETTLED = "settled.json"


@dataclass(frozen=True)
class Version:
    """One row as one reviewer left it; `edited` is the browser's time in UTC (ISO 8601)."""

    id: str
    reviewer: str
    fields: dict
    adaptation: str
    note: str
    done: bool
    edited: str

    def same(self, other):
        """Is it the same text and the same label?"""
        return self.fields == other.fields and self.adaptation == other.adaptation


@dataclass
class Merged:
    """The reviewers' files as one.

    rows       dict id -> Version, the settled rows
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

    Raises ValueError naming the file and what is wrong: no such export, another dataset's, a row that the dataset has
    not, fields missing, an unknown label, a done row with an empty text.
    """
    content = paths.read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a file exported by the review page ({FORMAT})")
    own = hash_drafts(drafts)
    if content.get("dataset") != own:
        raise ValueError(
            f"{path}: made for another dataset ({str(content.get('dataset'))[:12]}; these drafts are {own[:12]}); "
            "merge it with the drafts its page was made from"
        )
    by_id, found, listed = {d.id: d for d in drafts}, {}, content.get("rows") or []
    if not isinstance(listed, list):
        raise ValueError(f"{path}: rows: expected a list, found {type(listed).__name__}")
    for n, entry in enumerate(listed, 1):
        version = _version(entry, content.get("reviewer"), by_id, f"{path}, row {n}")
        if version.id in found:
            raise ValueError(f"{path}: row {version.id!r} is there twice")
        found[version.id] = version
    return list(found.values())


def _version(entry, reviewer, by_id, where):
    if not isinstance(reviewer, str) or not reviewer.strip():
        raise ValueError(f"{where}: the file names no reviewer")
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or entry["id"] not in by_id:
        raise ValueError(f"{where}: no row of this dataset: {str(entry)[:60]!r}")
    draft, where = by_id[entry["id"]], f"{where} ({entry['id']})"
    named = entry.get("fields")
    if (
        not isinstance(named, dict)
        or set(named) != set(draft.english)
        or not all(isinstance(t, str) for t in named.values())
    ):
        raise ValueError(f"{where}: expected text in {', '.join(draft.english)}, found {str(named)[:80]!r}")
    if entry.get("adaptation") not in ADAPTATIONS:
        raise ValueError(f"{where}: adaptation: expected one of {', '.join(ADAPTATIONS)}, found {entry.get('adaptation')!r}")
    if not isinstance(entry.get("note", ""), str) or not isinstance(entry.get("done", False), bool):
        raise ValueError(f"{where}: expected a note (text) and done (true or false)")
    tidy = {key: unicodedata.normalize("NFC", named[key].replace("\r\n", "\n")).strip() for key in draft.english}
    empty = [key for key in tidy if key != "input" and not tidy[key]]
    if entry.get("done") and empty:
        raise ValueError(f"{where}: {reviewer} marked it as done, but {empty[0]} is empty")
    note, edited = entry.get("note", "").strip(), str(entry.get("edited", ""))
    return Version(draft.id, reviewer.strip(), tidy, entry["adaptation"], note, entry.get("done", False), edited)


def merge_reviews(drafts, files, policy="ask", adjudication=None):
    """Several reviewers' files as one.

    files         exported files; of one reviewer's two versions of a row the later counts
    policy        for rows that reviewers finished differently: "ask" leaves them unsettled, "newest" takes the last
                  edited, "drop" leaves them out, a list of reviewers takes the first of them who did the row
    adjudication  settles before the policy: a file exported from `adjudication_page`, or JSON {row id: reviewer's name}
    return        Merged. Only rows marked as done count; notes are joined when reviewers agree.

    Raises ValueError as `read_review` does, and for an unknown policy or an adjudication of what is no conflict.
    """
    if not isinstance(policy, list | tuple) and policy not in ("ask", "newest", "drop"):
        raise ValueError(f"policy: expected ask, newest, drop or a list of reviewers, found {policy!r}")
    done = {}  # id -> reviewer -> latest Version
    for version in sorted((v for file in files for v in read_review(file, drafts)), key=lambda v: v.edited):
        done.setdefault(version.id, {})[version.reviewer] = version
    merged = Merged(drafts)
    for draft in drafts:
        versions = [v for v in done.get(draft.id, {}).values() if v.done]
        merged.doubled += len(versions) > 1
        if not versions:
            merged.undone.append(draft.id)
        elif all(v.same(versions[0]) for v in versions):
            merged.rows[draft.id] = _joined(versions)
        else:
            merged.conflicts[draft.id] = versions
    rulings = _rulings(adjudication, merged) if adjudication else {}
    for i, versions in merged.conflicts.items():
        settled = rulings.get(i) or _settled(versions, policy)
        if settled:
            merged.rows[i] = settled
        elif policy != "drop":
            merged.unsettled.append(i)
    return merged


def merge_review_folder(drafts, folder, policy="ask"):
    """`merge_reviews` of every .json file in a folder; `settled.json`, where there is one, is the adjudication."""
    files = sorted(Path(folder).glob("*.json"))
    settled = [f for f in files if f.name == SETTLED]
    return merge_reviews(drafts, [f for f in files if f.name != SETTLED], policy, *settled)


def _joined(versions):
    """One Version of several that say the same, with everyone's name and notes."""
    first, *others = versions
    if not others:
        return first
    notes = [f"{v.reviewer}: {v.note}" for v in versions if v.note]
    names = ", ".join(v.reviewer for v in versions)
    return Version(first.id, names, first.fields, first.adaptation, " / ".join(notes), True, versions[-1].edited)


def _settled(versions, policy):
    if policy == "newest":
        return max(versions, key=lambda v: v.edited)
    chosen = [v for name in policy for v in versions if v.reviewer == name] if not isinstance(policy, str) else []
    return chosen[0] if chosen else None


def _rulings(path, merged):
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


def merged_rows(merged):
    """The data set as dicts: id, category, instruction, input, output, history, adaptation, source_id, note, reviewer."""
    category = {d.id: d.category for d in merged.drafts}
    order = [d.id for d in merged.drafts if d.id in merged.rows]
    return [
        {"id": f"{i}-ko", "category": category[i]}
        | lima_row(merged.rows[i].fields)
        | {"adaptation": merged.rows[i].adaptation, "source_id": i}
        | {"note": merged.rows[i].note, "reviewer": merged.rows[i].reviewer}
        for i in order
    ]


def write_merged(merged, path):
    """Write the data set as .jsonl, one row a line; raises ValueError while a conflict is unsettled or nothing is done."""
    if merged.unsettled:
        few = ", ".join(merged.unsettled[:5])
        raise ValueError(
            f"{len(merged.unsettled)} conflicts are unsettled (first: {few}); choose a policy, or settle them on "
            "adjudication_page and give its file as adjudication"
        )
    if not merged.rows:
        raise ValueError("no row is marked as done: nothing to write")
    paths.write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in merged_rows(merged)))
