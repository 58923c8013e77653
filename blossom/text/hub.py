"""Data sets of the hub, written "hub:owner/name[@revision][:config[:split]]"; of split "train[:2000]" 2,000 rows are read.

"train[:60MB]" reads rows until their field `text` has 60 million bytes of UTF-8. Rows are read in the order of the set's
files, from the first, which is no random sample. Training shuffles what was read.
"""

import re
from collections import namedtuple
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np

from blossom.assets.registry import cache_folder, make_once
from blossom.assets.sources import repeat_failed_requests
from blossom.common import paths

PARQUET = "refs/convert/parquet"  # the branch in which the hub keeps its own Parquet copy of a set
HubSource = namedtuple("HubSource", "name revision config split rows bytes")  # config None: the default; rows, bytes 0: all


def parse_hub(source):
    """Split "hub:owner/name[@revision][:config[:split]]" (or a local folder for owner/name); ValueError for another form."""
    limit = r"(?:\[:(?:(\d+)|(\d+)MB)\])?"
    found = re.fullmatch(rf"(?:hub:)?([^:@]+)(?:@([^:]+))?(?::([^:[]+))?(?::([^:[]+){limit})?", source)
    if not found:
        told = "expected hub:owner/name[@revision][:config[:split]], the split also as train[:2000] or train[:60MB]"
        raise ValueError(f"{source}: {told}")
    name, revision, config, split, rows, megabytes = found.groups()
    return HubSource(name, revision, config, split or "train", int(rows or 0), int(megabytes or 0) * 1_000_000)


def read_hub_rows(source):
    """Yield the rows (dicts) of a hub set, which `fetch_hub_set` fetches, or of a local folder in its place."""
    import pyarrow.parquet

    wanted = parse_hub(source)
    if Path(wanted.name).is_dir():
        yield from islice(_open_stream(wanted, {"commit": None}), wanted.rows or None)
        return
    for file in sorted(fetch_hub_set(source).glob("*.parquet")):
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(1000):
            yield from batch.to_pylist()


def fetch_hub_set(source):
    """The folder of the cache with the rows of a hub set as Parquet files; ValueError says why the hub does not give it.

    It is fetched once, at the commit of that day; set.json has commit and rows. Only the rows asked for are downloaded. An
    interrupted call keeps those files of the set that it has finished.
    """
    wanted = parse_hub(source)
    folder = cache_folder() / "hub" / quote(source.removeprefix("hub:"), safe="")
    try:
        repeat_failed_requests()
        make_once(folder / "set.json", lambda file: paths.write_json(file, {"source": source} | _store_set(wanted, folder)))
    except RuntimeError:  # the cache cannot be written
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        if "gated" in f"{type(error).__name__} {error}".lower():
            reason += f". It is gated: ask for access on https://huggingface.co/datasets/{wanted.name}, then `hf auth login`"
        elif "offline" in reason.lower():
            reason += ". Fetch it where there is a network: python -m blossom.assets prefetch"
        if "BuilderConfig" in str(error) or wanted.config in ("train", "test", "validation"):
            reason += f". {wanted.config!r} stands where the configuration does: write hub:{wanted.name}:<config>:<split>"
        raise ValueError(f"{source}: the hub does not give it ({reason})") from None
    return folder


def _store_set(wanted, folder):
    """Write the rows into `folder`, a Parquet file for each file of the set, until there are enough: {"commit", "rows"}."""
    import pyarrow.parquet

    at = paths.read_json(make_once(folder / "commit.json", lambda file: paths.write_json(file, _find_commit(wanted))))
    stream, rows, left = _open_stream(wanted, at), 0, wanted.rows or wanted.bytes or float("inf")
    for number in range(stream.num_shards):
        file = folder / f"{number:05d}.parquet"
        if not file.exists():
            with paths.write_atomically(file) as temporary:
                _write_rows(stream.shard(stream.num_shards, number), temporary, wanted, left)
        stored = pyarrow.parquet.ParquetFile(file)
        rows += stored.metadata.num_rows
        left -= sum(_measure(table, wanted).sum() for table in stored.iter_batches(1000)) if left < float("inf") else 0
        if left <= 0:
            break
    return {"commit": at["commit"], "rows": rows}


def _write_rows(shard, file, wanted, left):
    import pyarrow.parquet

    writer = None
    for table in shard.with_format("arrow").iter(1000):
        sizes = np.cumsum(_measure(table, wanted))
        writer = writer or pyarrow.parquet.ParquetWriter(file, table.schema, compression="zstd")
        writer.write_table(table.slice(0, int(np.searchsorted(sizes, left)) + 1).cast(writer.schema))
        left -= sizes[-1]
        if left <= 0:
            break
    if writer:
        writer.close()
    else:
        pyarrow.parquet.write_table(pyarrow.table({}), file)


def _measure(table, wanted):
    """What each row of a table counts: bytes of its text where bytes are asked for, else 1; (rows,) int64."""
    import pyarrow.compute

    if not wanted.bytes:
        return np.ones(table.num_rows, np.int64)
    if "text" not in table.schema.names:
        raise ValueError(f"[:{wanted.bytes // 10**6}MB] counts the field 'text'; it has {', '.join(table.schema.names)}")
    return np.array(pyarrow.compute.binary_length(table["text"]).fill_null(0), np.int64)


def _find_commit(wanted):
    """{"commit"} of the wanted revision; of a set that is a script, of the hub's Parquet copy, with its "files"."""
    from huggingface_hub import HfApi

    found = HfApi().dataset_info(wanted.name, revision=wanted.revision)
    if wanted.name.split("/")[-1] + ".py" not in [f.rfilename for f in found.siblings]:
        return {"commit": found.sha}
    found = HfApi().dataset_info(wanted.name, revision=PARQUET)
    files = [f.rfilename for f in found.siblings if f.rfilename.endswith(".parquet")]
    configs = sorted({file.split("/")[0] for file in files})
    config = wanted.config or ("default" if "default" in configs else configs[0] if len(configs) == 1 else None)
    files = [file for file in files if file.startswith(f"{config}/{wanted.split}/")]
    if not files:
        raise ValueError(f"no BuilderConfig {wanted.config!r} with split {wanted.split!r}; it has {', '.join(configs)}")
    return {"commit": found.sha, "files": [f"hf://datasets/{wanted.name}@{found.sha}/{file}" for file in sorted(files)]}


def _open_stream(wanted, at):
    from datasets import load_dataset

    if "files" in at:
        return load_dataset("parquet", data_files={wanted.split: at["files"]}, split=wanted.split, streaming=True)
    return load_dataset(wanted.name, wanted.config, split=wanted.split, revision=at["commit"], streaming=True)
