"""People as judges: anonymous pairs of answers, an HTML page a rater that needs no server (B, 6.1), their files merged."""

import hmac
import json
import os
import re
import secrets
import unicodedata
import zlib
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import pandas as pd

from blossom.common import pages, paths
from blossom.preference.verdicts import make_verdicts

FORMAT = "blossom-ratings/1"
CHOICES = ("A", "B", "neither")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")  # the format of a browser's toISOString


@dataclass(frozen=True)
class Batch:
    """Pairs of answers to be rated."""

    pairs: tuple  # of dicts: prompt_id, kind, language, prompt, model_a, model_b, answer_a, answer_b
    raters: tuple  # names
    repeats: int
    pairs_per_rater: int
    secret: bytes = field(repr=False)

    @property
    def digest(self):
        """Names all that decides what raters see (hex); raters' names do not count, so that more can join later."""
        return self.draw({k: v for k, v in asdict(self).items() if k not in ("raters", "secret")}).hex()

    def draw(self, *about):
        """32 bytes, the same at every call, that look random to all who lack the secret (HMAC-SHA256 of `about`)."""
        return hmac.digest(self.secret, json.dumps(about, sort_keys=True).encode(), "sha256")


def keep_secret(folder):
    """The 32 bytes in a folder's secret.key, which the first call makes and only its owner can read.

    The pages' sides, order and ids follow from it, so collected ratings fit as long as the file stays.
    """
    file = Path(folder) / "secret.key"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".part")
        with open(new, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
            stream.write(secrets.token_bytes(32))
        new.rename(file)
    if len(found := file.read_bytes()) != 32:
        raise ValueError(f"{file}: expected 32 bytes, found {len(found)}: put it back, or delete it and make new pages")
    return found


@dataclass(frozen=True)
class Item:
    """One screen of a rater's page."""

    id: str
    pair: int  # index into `Batch.pairs`
    first: str  # a or b: the answer on the left
    look: int  # 1, or 2 when the pair is shown again


def make_batch(answers, comparisons=None, raters=("rater-1",), repeats=6, pairs_per_rater=0, secret=None):
    """Make the Batch of every two compared models' answers to the same prompts; ValueError if an answer is missing.

    answers          list of dicts: model, prompt_id, kind, language, prompt, answer (all str)
    comparisons      list of (model A, model B); default: every two models
    repeats          pairs each rater sees again near the end, sides exchanged; at most a third of the rater's pairs
    pairs_per_rater  pairs each rater sees, so that all prompts are seen about equally often; 0: one of every prompt
    secret           of `keep_secret`, so that a later call makes the same pages; None: a new one
    """
    by_model, pairs = {}, []
    for row in answers:
        by_model.setdefault(row["model"], {})[row["prompt_id"], row["language"]] = row
    for a, b in comparisons or combinations(by_model, 2):
        ours, theirs = by_model.get(a, {}), by_model.get(b, {})
        for key in [*ours, *theirs]:
            if key not in ours or key not in theirs:
                raise ValueError(f"answers: {a if key in theirs else b} has no answer to prompt {key[0]} ({key[1]})")
        for key, row in ours.items():
            about = {name: row[name] for name in ("prompt_id", "kind", "language", "prompt")}
            pairs.append(about | {"model_a": a, "model_b": b, "answer_a": row["answer"], "answer_b": theirs[key]["answer"]})
    if not pairs:
        raise ValueError("no pairs: at least two models and one prompt are needed")
    return Batch(tuple(pairs), _check_raters(raters), repeats, pairs_per_rater, secret or secrets.token_bytes(32))


def _check_raters(raters):
    names = [unicodedata.normalize("NFC", str(name)).strip() for name in raters]
    usable = all(0 < len(name) <= 60 and name.isprintable() for name in names)
    if not names or not usable or len({_page_name(name) for name in names}) < len(names):
        raise ValueError(f"raters: expected different names of 1 to 60 printable characters, found {names}")
    return tuple(names)


def _page_name(rater):
    return "rate-" + re.sub(r"[^\w-]+", "_", rater).casefold() + ".html"


def list_items(batch, rater):
    """The screens that `rater` sees (list of Item), in an order that is random but the same at every call.

    A rater sees one pair of a prompt: an answer that came again with another beside it would be known as one model's.
    """
    asked, draw = {}, partial(batch.draw, batch.digest)
    for n, pair in enumerate(batch.pairs):
        asked.setdefault((pair["prompt_id"], pair["language"]), []).append(n)
    groups = sorted(asked.values(), key=partial(draw, "share"))
    if 0 < batch.pairs_per_rater < len(groups):
        start = batch.raters.index(rater) * batch.pairs_per_rater
        groups = [groups[(start + n) % len(groups)] for n in range(batch.pairs_per_rater)]
    own = [min(group, key=partial(draw, "opponent", rater)) for group in groups]
    looks = [(n, "ab"[draw("side", rater, n)[0] % 2], 1) for n in sorted(own, key=partial(draw, "order", rater))]
    third = len(looks) // 3
    chosen = sorted(looks[:third], key=partial(draw, "again", rater))[: batch.repeats]
    tail = looks[len(looks) - third :] + [(n, "ab"[first == "a"], 2) for n, first, _ in chosen]
    tail.sort(key=partial(draw, "tail", rater))  # at least a third of the page is between the two looks
    return [Item(draw("id", rater, *look).hex()[:12], *look) for look in looks[: len(looks) - third] + tail]


def render_rating_page(batch, rater):
    """The rater's page as HTML (str); it has no model's name unless an answer mentions one."""
    shown = []
    for item in list_items(batch, rater):
        pair = batch.pairs[item.pair]
        answers = [pair["answer_a"], pair["answer_b"]][:: 1 if item.first == "a" else -1]
        shown.append({"id": item.id, "language": pair["language"], "prompt": pair["prompt"], "answers": answers})
    data = {"format": FORMAT, "batch": batch.digest, "rater": rater, "items": shown}
    return pages.assemble_page(Path(__file__).with_name("rate.html"), data, rater=rater)


def publish_batch(batch, folder):
    """Write batch.json (it names the models) and the raters' pages; return (batch with earlier raters too, page paths)."""
    own = Path(folder) / batch.digest[:8]
    if (own / "batch.json").exists():  # earlier raters keep their positions, which decide their pairs
        known = paths.read_json(own / "batch.json", {"raters": list[str]})["raters"]
        batch = replace(batch, raters=_check_raters(dict.fromkeys([*known, *batch.raters])))
    paths.write_json(own / "batch.json", asdict(batch) | {"digest": batch.digest, "secret": "in secret.key"})
    for rater in batch.raters:
        paths.write_text(own / _page_name(rater), render_rating_page(batch, rater))
    return batch, [own / _page_name(rater) for rater in batch.raters]


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
        asked = {item.id: item for item in list_items(batch, rater)}
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
    files = pd.DataFrame(listed, columns=["file", "rater", "status", "verdicts", "asked", "why"])
    return Ratings(make_verdicts(rows), files, pd.DataFrame(left_out, columns=["file", "rater", "id", "choice", "why"]))


def _list_files(names):
    listed = []
    for name in names:
        path = paths.find_path(paths.ROOT / Path(name).expanduser())
        if path.is_dir():
            listed += [f for f in paths.list_files(path) if f.suffix.lower() == ".json" and f.name != "batch.json"]
        else:  # a missing file stays in the list, to be shown as refused
            listed.append(path)
    return list(dict.fromkeys(listed))


def read_ratings(file, batch):
    """Read (rater, list of unchecked verdicts) from one file; ValueError says why the file is refused."""
    content = paths.read_json(file)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"not a file that the raters' page exported ({FORMAT})")
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
    lines = [FORMAT, batch_digest, rater]
    lines += ["\t".join(str(v.get(k)) for k in ("id", "choice", "seconds", "at")) for v in given]
    return f"{zlib.crc32(chr(10).join(lines).encode('utf-8', 'replace')):08x}"


def _why_unusable(verdict, asked):
    i, choice, seconds, at = (verdict.get(k) for k in ("id", "choice", "seconds", "at"))
    if not isinstance(i, str) or i not in asked:
        return "no pair that this rater was asked about"
    if choice not in CHOICES:
        return f"expected one of {', '.join(CHOICES)}"
    if type(seconds) is not int or not 0 <= seconds <= 86_400 or not isinstance(at, str) or not TIME.fullmatch(at):
        return f"not a time: {seconds!a:.20} s at {at!a:.30}"
    return ""
