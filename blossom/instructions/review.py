"""The review page: people correct the drafts in one HTML file that needs no server (B, 4.1)."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from blossom.common import pages, paths
from blossom.instructions.checks import KINDS, TABLES, flag_draft

FORMAT = "blossom-review/1"
PAPER_TABLE_2 = TABLES["paper_table_2"]  # lists of kind, before, after


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
    if not merged.unsettled:
        raise ValueError("no conflict is unsettled")
    by_id = {d.id: d for d in merged.drafts}
    rows = [_page_row(by_id[i]) | {"versions": [asdict(v) for v in merged.conflicts[i]]} for i in merged.unsettled]
    _write_page(merged.drafts, rows, path, "의견이 다른 행")


def _page_row(draft):
    fields = [{"key": k, "english": text, "draft": draft.korean[k]} for k, text in draft.english.items()]
    flags = [asdict(flag) for flag in flag_draft(draft.english, draft.korean, draft.cut)]
    return {"id": draft.id, "category": draft.category, "fields": fields, "flags": flags}


def _write_page(drafts, rows, path, title):
    digest = hash_drafts(drafts)
    data = {"format": FORMAT, "digest": digest, "title": title, "kinds": KINDS, "rows": rows}
    words = {"title": title, "digest": digest, "examples": PAPER_TABLE_2}
    paths.write_text(path, pages.assemble_page(Path(__file__).with_suffix(".html"), data, **words))
