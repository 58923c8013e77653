"""What raters send back: files read with suspicion, merged, and everything that is not counted shown."""

import json
import re
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from blossom.common import paths
from blossom.preference import people, verdicts

CHOICES = ("A", "B", "neither")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")  # what a browser's toISOString writes


@dataclass(frozen=True)
class Ratings:
    """Raters' files as one.

    verdicts   table of `verdicts.make_verdicts`, with a column seconds
    files      one row a file: file, rater, status (taken, sent twice, refused), verdicts in it, asked of the rater, why
    left_out   one row a verdict of a taken file that cannot be used: file, rater, id, choice, why
    conflicts  one row a pair that a rater judged differently in two files: rater, prompt_id, language, choices, files, used
    """

    verdicts: pd.DataFrame
    files: pd.DataFrame
    left_out: pd.DataFrame
    conflicts: pd.DataFrame

    def told(self):
        """One line: how many files and verdicts counted, and how many did not."""
        n = self.files.status.value_counts() if len(self.files) else {}
        return (
            f"{n.get('taken', 0)} files taken, {n.get('sent twice', 0)} sent twice, {n.get('refused', 0)} refused; "
            f"{len(self.verdicts)} verdicts counted, {len(self.left_out)} left out, {len(self.conflicts)} in conflict"
        )


def merge_ratings(batch, files, latest=False):
    """Several raters' files as one verdict table.

    files   paths of what the pages exported; a rater may have sent only a part
    latest  of two different verdicts of one rater on one pair, take the later; else neither counts
    return  Ratings. Nothing is raised for a bad file: it is refused, and `list_rating_files` says why.

    Refused: no file of this format, another batch's, a rater not in the batch, a checksum that does not fit (edited by
    hand). A file that says the same as an earlier one of the same rater is "sent twice" and counts once.
    """
    known = people.index_items(batch)
    listed, left_out, taken = [], [], defaultdict(list)  # taken: rater -> [(file name, {id: verdict})]
    for file in files:
        name = Path(file).name
        try:
            rater, given = read_ratings(file, batch)
        except ValueError as error:
            listed.append([name, "", "refused", 0, 0, people.replace_surrogates(str(error))])
            continue
        asked = {item.id for item in people.list_items(batch, rater)}
        good, bad = _sorted_out(given, asked, known)
        choices = {i: v["choice"] for i, v in good.items()}
        before = [n for n, other in taken[rater] if {i: v["choice"] for i, v in other.items()} == choices]
        status, why = ("sent twice", f"the same verdicts as {before[0]}") if before else ("taken", "")
        listed.append([name, rater, status, len(given), len(asked), why])
        if not before:
            taken[rater].append((name, good))
            left_out += [[name, rater, *row] for row in bad]
    rows, conflicts = [], []
    for rater, sent in taken.items():
        rows += _one_rater(batch, known, rater, sent, latest, conflicts)
    table = verdicts.make_verdicts(rows)
    return Ratings(
        table,
        pd.DataFrame(listed, columns=["file", "rater", "status", "verdicts", "asked", "why"]),
        pd.DataFrame(left_out, columns=["file", "rater", "id", "choice", "why"]),
        pd.DataFrame(conflicts, columns=["rater", "prompt_id", "language", "choices", "files", "used"]),
    )


def list_rating_files(names):
    """The files meant by names of files and of folders (their .json files, sorted); relative to the repository's root.

    A name that is not there stays in the list, so that `merge_ratings` shows it as refused.
    """
    listed = []
    for path in (paths.ROOT / name for name in names):
        listed += sorted(f for f in path.glob("*.json") if f.name != "batch.json") if path.is_dir() else [path]
    return list(dict.fromkeys(listed))


def read_ratings(file, batch):
    """(rater, list of verdicts as they stand) in one file; raises ValueError saying why the file is refused."""
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
    """CRC-32 (8 hex digits) of a file's content, as the page computes it; it tells accidents and edits, not forgers."""
    lines = [people.FORMAT, batch_digest, rater]
    lines += ["\t".join(str(v.get(k)) for k in ("id", "choice", "seconds", "at")) for v in given]
    return f"{zlib.crc32(chr(10).join(lines).encode('utf-8', 'replace')):08x}"


def _sorted_out(given, asked, known):
    """(dict id -> usable verdict, list of [id, choice, why] of the others)."""
    good, bad = {}, []
    for verdict in given:
        i, choice, seconds, at = (verdict.get(k) for k in ("id", "choice", "seconds", "at"))
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
        else:
            good[i] = verdict
            continue
        bad.append([people.replace_surrogates(str(text)[:40]) for text in (i, choice)] + [people.replace_surrogates(why)])
    return good, bad


def _one_rater(batch, known, rater, sent, latest, conflicts):
    """Rows of the verdict table from one rater's files; what differs between the files goes to `conflicts`."""
    given = defaultdict(list)  # id -> [(file, verdict)]
    for name, good in sent:
        for i, verdict in good.items():
            given[i].append((name, verdict))
    rows = []
    for i, versions in sorted(given.items(), key=lambda one: (known[one[0]].pair, known[one[0]].look)):
        item, newest = known[i], max((v for _, v in versions), key=lambda v: v["at"])
        pair = batch.pairs[item.pair]
        choices = [v["choice"] for _, v in versions]
        if len(set(choices)) > 1:
            names = ", ".join(name for name, _ in versions)
            used = newest["choice"] if latest else ""
            conflicts.append([rater, pair["prompt_id"], pair["language"], ", ".join(choices), names, used])
            if not latest:
                continue
        rows.append(_row(pair, item, rater, newest))
    return rows


def _row(pair, item, rater, verdict):
    second = "ab"[item.first == "a"]
    row = {k: pair[k] for k in ("prompt_id", "kind", "language", "model_a", "model_b")}
    row |= {"winner": {"A": item.first, "B": second, "neither": "tie"}[verdict["choice"]]}
    row |= {"rater": rater, "first_shown": item.first, "source": "people", "look": item.look}
    return row | {"length_a": len(pair["answer_a"]), "length_b": len(pair["answer_b"]), "seconds": verdict["seconds"]}
