"""The reviewers' page: people rework the drafts in one HTML file that needs no server and no Python (B, 4.1).

drafts = translating.translate_examples(...)    # or drafts.pair_drafts(...), drafts.read_drafts(...)
review.write_review_page(drafts, "review.html")                              # send this one file to the reviewers
merged = merging.merge_reviews(drafts, ["review-....json", ...])        # what they export and send back
review.write_adjudication_page(merged, "conflicts.html")              # a third person settles what two see differently
merging.write_merged(merged, "ko.jsonl")
"""

import hashlib
import json
from collections import Counter
from pathlib import Path

from blossom.common import pages
from blossom.instructions import checks

FORMAT = "blossom-review/1"
PAGE = Path(__file__).with_name("review.html")
PAPER_TABLE_2 = (  # Choi et al., as printed
    (
        "NE change",
        "I heard north ridge of mount Stuart from my friends, can you tell me more?",
        "I heard north ridge of 'Bukhansan Mountain' from my friends, can you tell me more?",
    ),
    ("NE change", "How to claim tax back (in USA)?", "How to claim tax back in Korea?"),
    (
        "topic change",
        "What are the primary objections Democrats have to a border wall?",
        "What is the Korean Democratic Party's opinion on voting rights for overseas Koreans?",
    ),
    ("topic change", "How to make creepy food??", "How to make bizarre food??"),
)


def hash_drafts(drafts):
    """What a page and the files that come back have in common: sha256 of ids, English and drafts.

    Raises ValueError: no drafts, two with one id, or a half character (lone surrogate) that no file can hold.
    """
    if not drafts:
        raise ValueError("no drafts to review")
    twice = [name for name, n in Counter(d.id for d in drafts).items() if n > 1]
    if twice:
        raise ValueError(f"drafts: id {twice[0]!r} is given twice")
    sha = hashlib.sha256()
    for draft in drafts:
        try:
            sha.update(json.dumps([draft.id, draft.english, draft.korean], ensure_ascii=False).encode())
        except UnicodeEncodeError as error:
            raise ValueError(
                f"draft {draft.id}: a broken character at {error.object[error.start - 20 : error.start]!r}"
            ) from None
    return sha.hexdigest()


def write_review_page(drafts, path, title="한국어 LIMA 검토", assigned=None):
    """Write the reviewers' page: one HTML file that needs no server, no network and no Python.

    drafts    list of Draft; the flags of `checks` are computed and shown
    title     shown on top; also tells pages apart in the browser's tabs
    assigned  dict reviewer -> ids (see `assign_drafts`), or None when everyone sees every row as theirs
    return    the digest that the page and its exported files carry

    Raises ValueError when `assigned` has an id that no draft has.
    """
    unknown = {i for ids in (assigned or {}).values() for i in ids} - {d.id for d in drafts}
    if unknown:
        raise ValueError(f"assigned: no draft has the id {min(unknown)!r}")
    return _write_page([_page_row(d) for d in drafts], hash_drafts(drafts), path, title, assigned or {})


def write_adjudication_page(merged, path, title="의견이 다른 행"):
    """Write a page of the unsettled conflicts, each reviewer's text beside the others; what it exports settles them.

    Give its exported file to `merge` as `adjudication`. Raises ValueError when nothing is unsettled.
    """
    if not merged.unsettled:
        raise ValueError("no conflict is unsettled")
    by_id = {d.id: d for d in merged.drafts}
    listed = []
    for i in merged.unsettled:
        versions = [{k: getattr(v, k) for k in ("reviewer", "fields", "adaptation", "note")} for v in merged.conflicts[i]]
        listed.append(_page_row(by_id[i]) | {"versions": versions})
    return _write_page(listed, hash_drafts(merged.drafts), path, title, {})


def assign_drafts(drafts, reviewers, overlap=0.1):
    """Who reviews what: dict reviewer -> list of ids; rows go round, and a share `overlap` of them to two people.

    Raises ValueError when two reviewers have one name, or one has none.
    """
    if len(set(reviewers)) != len(reviewers) or not all(reviewers):
        raise ValueError(f"reviewers: expected different names, found {reviewers!r}")
    shared = round(overlap * len(drafts)) if len(reviewers) > 1 else 0
    every = len(drafts) / shared if shared else 0
    twice = {int(n * every) for n in range(shared)}
    names, result = list(reviewers), {name: [] for name in reviewers}
    for n, draft in enumerate(drafts):
        for name in (names[n % len(names)], *([names[(n + 1) % len(names)]] if n in twice else [])):
            result[name].append(draft.id)
    return result


def _page_row(draft):
    found = checks.flag_draft(draft.english, draft.korean, draft.cut)
    return {
        "id": draft.id,
        "category": draft.category,
        "fields": [{"key": k, "english": text, "draft": draft.korean[k]} for k, text in draft.english.items()],
        "flags": [{"kind": f.kind, "field": f.field, "found": f.found} for f in found],
    }


def _write_page(listed, data_digest, path, title, assigned):
    data = {
        "format": FORMAT,
        "digest": data_digest,
        "title": title,
        "assigned": assigned,
        "kinds": checks.KINDS,
        "rows": listed,
    }
    pages.write_page(path, PAGE, data, title=title, digest=data_digest, examples=PAPER_TABLE_2)
    return data_digest
