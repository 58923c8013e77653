"""The files that raters send back: checked, merged, and everything that does not count listed with the reason."""

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
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")  # as a browser's toISOString writes it


@dataclass(frozen=True)
class Ratings:
    """All raters' files together.

    verdicts   table of `make_verdicts`, with a column seconds
    files      one row a file: file, rater, status (taken, sent twice, refused), verdicts in it, asked of the rater, why
    left_out   one row an unusable verdict of a taken file: file, rater, id, choice, why
    conflicts  one row a pair that a rater judged differently in two files: rater, prompt_id, language, choices, files
    """

    verdicts: pd.DataFrame
    files: pd.DataFrame
    left_out: pd.DataFrame
    conflicts: pd.DataFrame


def merge_ratings(batch, files):
    """The Ratings in the raters' files (paths). A bad file raises nothing: it is refused, and `Ratings.files` says why.

    Refused are files of another format or batch, of an unknown rater or with a wrong checksum (edited by hand). A rater may
    send a part, and more later: a file without anything new is "sent twice". Two different verdicts of one rater on one
    pair are a conflict, and neither counts.
    """
    known = people.index_items(batch)
    listed, left_out, given = [], [], {}  # given: (rater, id) -> {choice: (file name, verdict)}
    for file in files:
        name = Path(file).name
        try:
            rater, found = read_ratings(file, batch)
        except ValueError as error:
            listed.append([name, "", "refused", 0, 0, people.replace_surrogates(str(error))])
            continue
        asked = {item.id for item in people.list_items(batch, rater)}
        good, bad = _check_verdicts(found, asked, known)
        new = {i: v for i, v in good.items() if v["choice"] not in given.get((rater, i), {})}
        for i, verdict in new.items():
            given.setdefault((rater, i), {})[verdict["choice"]] = (name, verdict)
        again = bool(good) and not new
        listed.append([name, rater, "sent twice" if again else "taken", len(found), len(asked), ""])
        left_out += [] if again else [[name, rater, *row] for row in bad]
    rows, conflicts = [], []
    for (rater, i), choices in sorted(given.items(), key=lambda one: (known[one[0][1]].pair, known[one[0][1]].look)):
        item = known[i]
        pair = batch.pairs[item.pair]
        names, sent = zip(*choices.values(), strict=True)
        if len(choices) > 1:
            conflicts.append([rater, pair["prompt_id"], pair["language"], ", ".join(choices), ", ".join(names)])
            continue
        winner = {"A": item.first, "B": "ab"[item.first == "a"], "neither": "tie"}[sent[0]["choice"]]
        row = {k: pair[k] for k in ("prompt_id", "kind", "language", "model_a", "model_b")} | {"winner": winner}
        row |= {"rater": rater, "first_shown": item.first, "look": item.look, "seconds": sent[0]["seconds"]}
        rows.append(row)
    return Ratings(
        make_verdicts(rows),
        pd.DataFrame(listed, columns=["file", "rater", "status", "verdicts", "asked", "why"]),
        pd.DataFrame(left_out, columns=["file", "rater", "id", "choice", "why"]),
        pd.DataFrame(conflicts, columns=["rater", "prompt_id", "language", "choices", "files"]),
    )


def list_rating_files(names):
    """The files that names of files and folders stand for (of a folder its .json files, sorted), relative to the repository.

    A name that does not exist stays in the list, so that `merge_ratings` shows it as refused.
    """
    listed = []
    for path in (paths.ROOT / name for name in names):
        listed += sorted(f for f in path.glob("*.json") if f.name != "batch.json") if path.is_dir() else [path]
    return list(dict.fromkeys(listed))


def read_ratings(file, batch):
    """(rater, list of unchecked verdicts) in one file; ValueError says why a file is refused."""
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"not readable as JSON ({str(error)[:80]})") from None
    if not isinstance(content, dict) or content.get("format") != people.FORMAT:
        raise ValueError(f"not a file that the raters' page exported ({people.FORMAT})")
    if content.get("batch") != batch.digest:
        raise ValueError(f"of another batch: {str(content.get('batch'))[:8]}, this one is {batch.digest[:8]}")
    rater, given = content.get("rater"), content.get("verdicts")
    if rater not in batch.raters:
        raise ValueError(f"rater {str(rater)[:60]!r} is not in this batch: {', '.join(batch.raters)}")
    if not isinstance(given, list) or not all(isinstance(v, dict) for v in given):
        raise ValueError("holds no list of verdicts")
    if content.get("checksum") != checksum_ratings(content["batch"], rater, given):
        raise ValueError(f"its checksum does not fit its {len(given)} verdicts: edited by hand, or damaged on the way")
    return rater, given


def checksum_ratings(batch_digest, rater, given):
    """CRC-32 (8 hex digits) of a file's content, as rate.js computes it: it detects accidents and edits, not forgery."""
    lines = [people.FORMAT, batch_digest, rater]
    lines += ["\t".join(str(v.get(k)) for k in ("id", "choice", "seconds", "at")) for v in given]
    return f"{zlib.crc32(chr(10).join(lines).encode('utf-8', 'replace')):08x}"


def _check_verdicts(given, asked, known):
    """(dict id -> usable verdict, list of [id, choice, why] of the others)."""
    good, bad = {}, []
    for verdict in given:
        i, choice, seconds, at = (verdict.get(k) for k in ("id", "choice", "seconds", "at"))
        why = ""
        if not isinstance(i, str) or i not in known:
            why = "no such pair in this batch"
        elif i not in asked:
            why = "this rater was not asked about it"
        elif choice not in CHOICES:
            why = f"expected one of {', '.join(CHOICES)}"
        elif type(seconds) is not int or seconds < 0 or not isinstance(at, str) or not TIME.fullmatch(at):
            why = f"not a time: {str(seconds)[:20]} s at {str(at)[:30]}"
        elif i in good:
            why = "the file has another verdict on it"
        if why:
            bad.append(
                [people.replace_surrogates(str(text)[:40]) for text in (i, choice)] + [people.replace_surrogates(why)]
            )
        else:
            good[i] = verdict
    return good, bad
