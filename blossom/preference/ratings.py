"""The files that raters send back, checked and merged."""

import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from blossom.common import paths
from blossom.preference import people
from blossom.preference.verdicts import make_verdicts

CHOICES = ("A", "B", "neither")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")  # the format of a browser's toISOString


@dataclass(frozen=True)
class Ratings:
    """All raters' files together."""

    verdicts: pd.DataFrame  # table of `make_verdicts`, with a column seconds
    files: pd.DataFrame  # a row a file: file, rater, status (taken, refused), verdicts, asked (of the rater), why
    left_out: pd.DataFrame  # a row a verdict that does not count: file, rater, id, choice, why


def merge_ratings(batch, files):
    """Check and merge raters' files (paths of files, or of folders with .json files); a bad file is listed as refused.

    A rater may send several files. If they hold two different verdicts on one pair, neither counts.
    """
    listed, left_out, given = [], [], {}  # given: (rater, item) -> {choice: (file name, verdict)}
    for file in _list_files(files):
        name = Path(file).name
        try:
            rater, found = read_ratings(file, batch)
        except ValueError as error:
            listed.append([name, "", "refused", 0, 0, str(error)])
            continue
        asked = {item.id: item for item in people.list_items(batch, rater)}
        listed.append([name, rater, "taken", len(found), len(asked), ""])
        for verdict in found:
            if why := _why_unusable(verdict, asked):
                left_out.append([name, rater, f"{verdict.get('id')!a:.40}", f"{verdict.get('choice')!a:.40}", why])
            else:
                given.setdefault((rater, asked[verdict["id"]]), {})[verdict["choice"]] = (name, verdict)
    rows = []
    for (rater, item), choices in sorted(given.items(), key=lambda one: (one[0][1].pair, one[0][1].look)):
        if len(choices) > 1:
            why = f"the rater also chose otherwise: {', '.join(choices)}"
            left_out += [[name, rater, item.id, choice, why] for choice, (name, _) in choices.items()]
            continue
        ((choice, (_, verdict)),) = choices.items()
        row = {k: batch.pairs[item.pair][k] for k in ("prompt_id", "kind", "language", "model_a", "model_b")}
        row["winner"] = {"A": item.first, "B": "ab"[item.first == "a"], "neither": "tie"}[choice]
        rows.append(row | {"rater": rater, "first_shown": item.first, "look": item.look, "seconds": verdict["seconds"]})
    return Ratings(
        make_verdicts(rows),
        pd.DataFrame(listed, columns=["file", "rater", "status", "verdicts", "asked", "why"]),
        pd.DataFrame(left_out, columns=["file", "rater", "id", "choice", "why"]),
    )


def _list_files(names):
    listed = []
    for path in (paths.ROOT / name for name in names):  # a missing file stays in the list, to be shown as refused
        listed += sorted(f for f in path.glob("*.json") if f.name != "batch.json") if path.is_dir() else [path]
    return list(dict.fromkeys(listed))


def read_ratings(file, batch):
    """Read (rater, list of unchecked verdicts) from one file; ValueError says why the file is refused."""
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"not readable as JSON ({str(error)[:80]})") from None
    if not isinstance(content, dict) or content.get("format") != people.FORMAT:
        raise ValueError(f"not a file that the raters' page exported ({people.FORMAT})")
    rater, given = content.get("rater"), content.get("verdicts")
    if content.get("batch") != batch.digest:
        raise ValueError(f"of another batch: {content.get('batch')!a:.10}, this one is {batch.digest[:8]}")
    if rater not in batch.raters:
        raise ValueError(f"rater {rater!r:.60} is not in this batch: {', '.join(batch.raters)}")
    if not isinstance(given, list) or not all(isinstance(v, dict) for v in given):
        raise ValueError("holds no list of verdicts")
    if content.get("checksum") != checksum_ratings(batch.digest, rater, given):
        raise ValueError(f"its checksum does not fit its {len(given)} verdicts: edited by hand, or damaged on the way")
    return rater, given


def checksum_ratings(batch_digest, rater, given):
    """CRC-32 (8 hex digits) of a file's content, as rate.js computes it; it detects damage and edits, not forgery."""
    lines = [people.FORMAT, batch_digest, rater]
    lines += ["\t".join(str(v.get(k)) for k in ("id", "choice", "seconds", "at")) for v in given]
    return f"{zlib.crc32(chr(10).join(lines).encode('utf-8', 'replace')):08x}"


def _why_unusable(verdict, asked):
    i, choice, seconds, at = (verdict.get(k) for k in ("id", "choice", "seconds", "at"))
    if not isinstance(i, str) or i not in asked:
        return "no pair that this rater was asked about"
    if choice not in CHOICES:
        return f"expected one of {', '.join(CHOICES)}"
    if type(seconds) is not int or seconds < 0 or not isinstance(at, str) or not TIME.fullmatch(at):
        return f"not a time: {seconds!a:.20} s at {at!a:.30}"
    return ""
