"""The reviewers' page: people rework the drafts in one HTML file that needs no server and no Python (B, 4.1).

drafts = translation.translate_examples(...)                          # or read_drafts(...)
write_review_page(drafts, "review.html")                              # send this one file to the reviewers
merged = merging.merge_reviews(drafts, ["review-....json", ...])      # what they export and send back
write_adjudication_page(merged, "conflicts.html")                     # a third person settles their differences
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
    """sha256 of ids, English and drafts: a page carries it, and so do the files that the page exports.

    Raises ValueError: no drafts, an id given twice, or a lone surrogate, which no file can hold.
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
            around = error.object[error.start - 20 : error.start]
            raise ValueError(f"draft {draft.id}: a broken character at {around!r}") from None
    return sha.hexdigest()


def write_review_page(drafts, path, title="한국어 LIMA 검토", assigned=None):
    """Write the reviewers' page of these drafts, with the flags of `checks`, to `path`.

    title     shown on top
    assigned  dict reviewer -> ids (see `assign_drafts`); None: every reviewer gets every row
    return    the digest that the page and its exported files carry

    Raises ValueError when `assigned` has an id that no draft has.
    """
    unknown = {i for ids in (assigned or {}).values() for i in ids} - {d.id for d in drafts}
    if unknown:
        raise ValueError(f"assigned: no draft has the id {min(unknown)!r}")
    return _write_page([_page_row(d) for d in drafts], hash_drafts(drafts), path, title, assigned or {})


def write_adjudication_page(merged, path, title="의견이 다른 행"):
    """Write a page of the unsettled conflicts with each reviewer's text.

    Its exported file is the `adjudication` of `merge_reviews`. Raises ValueError when nothing is unsettled.
    """
    if not merged.unsettled:
        raise ValueError("no conflict is unsettled")
    by_id, listed = {d.id: d for d in merged.drafts}, []
    for i in merged.unsettled:
        versions = [{k: getattr(v, k) for k in ("reviewer", "fields", "adaptation", "note")} for v in merged.conflicts[i]]
        listed.append(_page_row(by_id[i]) | {"versions": versions})
    return _write_page(listed, hash_drafts(merged.drafts), path, title, {})


def assign_drafts(drafts, reviewers, overlap=0.1):
    """Who reviews what: dict reviewer -> list of ids, in turns; a share `overlap` of the rows goes to two people.

    Raises ValueError when two reviewers have one name, or one has none.
    """
    if len(set(reviewers)) != len(reviewers) or not all(reviewers):
        raise ValueError(f"reviewers: expected different names, found {reviewers!r}")
    shared = round(overlap * len(drafts)) if len(reviewers) > 1 else 0
    twice = {int(n * len(drafts) / shared) for n in range(shared)}
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


def _write_page(listed, digest, path, title, assigned):
    data = {"format": FORMAT, "digest": digest, "title": title, "assigned": assigned, "kinds": checks.KINDS, "rows": listed}
    pages.write_page(path, PAGE, data, title=title, digest=digest, examples=PAPER_TABLE_2)
    return digest
