"""Data sets of the hub, fetched once as JSON lines; docs/data.md says how they are named and which rows are read."""

import json
import re
from collections import namedtuple
from itertools import islice
from urllib.parse import quote

from blossom.assets.registry import cache_folder, is_intact, make_once
from blossom.assets.sources import CLOSED, repeat_failed_requests
from blossom.common import paths

PARQUET = "refs/convert/parquet"  # the branch in which the hub keeps its own Parquet copy of a set
HubSource = namedtuple("HubSource", "name revision config split rows bytes")  # config None: the default; rows, bytes 0: all


def parse_hub(source):
    """Split "hub:owner/name[@revision][:config[:split]]"; ValueError for another form."""
    limit = r"(?:\[:(?:(\d+)|(\d+)MB)\])?"
    found = re.fullmatch(rf"(?:hub:)?([^:@]+)(?:@([^:]+))?(?::([^:[]+))?(?::([^:[]+){limit})?", source)
    if not found:
        told = "expected hub:owner/name[@revision][:config[:split]], the split also as train[:2000] or train[:60MB]"
        raise ValueError(f"{source}: {told}")
    name, revision, config, split, rows, megabytes = found.groups()
    return HubSource(name, revision, config, split or "train", int(rows or 0), int(megabytes or 0) * 1_000_000)


def read_hub_rows(source):
    """Yield the rows (dicts) of a hub set, which `fetch_hub_set` fetches."""
    folder = fetch_hub_set(source)
    for name in paths.read_json(folder / "set.json", {"files": list[str]})["files"]:
        if not is_intact(folder / name):
            raise ValueError(f"{folder / name}: missing, or not what was stored: delete {folder}, and it is fetched again")
        with open(folder / name, encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def fetch_hub_set(source):
    """The folder of the cache with the rows of a hub set as JSON lines; ValueError says why the hub does not give it.

    set.json names the commit and the files. An interrupted call keeps those files of a whole set that it has finished.
    """
    wanted = parse_hub(source)
    folder = cache_folder() / "hub" / quote(source.removeprefix("hub:"), safe="")
    return make_once(folder / "set.json", lambda file: paths.write_json(file, _store_set(source, wanted, folder))).parent


def _store_set(source, wanted, folder):
    try:
        repeat_failed_requests()
        stream, commit = _open_stream(wanted)
        parts = [_limit_rows(stream, wanted)]
        if not (wanted.rows or wanted.bytes):
            parts = [stream.shard(stream.num_shards, n) for n in range(stream.num_shards)]  # one a file of the set
        names = [f"{commit[:8]}-{n:05d}.jsonl" for n in range(len(parts))]
        for name, part in zip(names, parts, strict=True):
            make_once(folder / name, lambda file, part=part: _write(part, file))
    except Exception as error:
        if isinstance(error, RuntimeError) or getattr(error, "errno", None) in CLOSED:
            raise
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        if "gated" in f"{type(error).__name__} {error}".lower():
            reason += f". It is gated: ask for access on https://huggingface.co/datasets/{wanted.name}, then `hf auth login`"
        elif "offline" in reason.lower():
            reason += ". Fetch it where there is a network: python -m blossom.assets prefetch"
        if "BuilderConfig" in str(error) or wanted.config in ("train", "test", "validation"):
            reason += f". {wanted.config!r} stands where the configuration does: write hub:{wanted.name}:<config>:<split>"
        raise ValueError(f"{source}: the hub does not give it ({reason})") from None
    return {"source": source, "commit": commit, "files": names}


def _open_stream(wanted):
    """(the rows as a stream, their commit); a set that is a script is read from the hub's Parquet copy."""
    from datasets import load_dataset
    from huggingface_hub import HfApi

    commit = HfApi().dataset_info(wanted.name, revision=wanted.revision).sha
    try:
        return load_dataset(wanted.name, wanted.config, split=wanted.split, revision=commit, streaming=True), commit
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
    commit = HfApi().dataset_info(wanted.name, revision=PARQUET).sha
    # that branch has a folder for each configuration, and no card that names them
    files = f"hf://datasets/{wanted.name}@{commit}/{wanted.config or '*'}/{wanted.split}/*.parquet"
    return load_dataset("parquet", data_files={wanted.split: files}, split=wanted.split, streaming=True), commit


def _limit_rows(stream, wanted):
    left = wanted.bytes or 1
    for row in islice(stream, wanted.rows or None):
        if wanted.bytes and "text" not in row:
            raise ValueError(f"[:..MB] counts the field text, and rows have {', '.join(row)}: limit them by number, [:2000]")
        yield row
        if wanted.bytes:
            left -= len(str(row.get("text") or "").encode())
        if left <= 0:
            return


def _write(rows, file):
    with open(file, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
