"""Data sets of the hub, written "hub:owner/name[@revision][:config[:split]]"; the split "train[:2000]" has 2,000 rows."""

import functools
import re
from collections import namedtuple

PARQUET = "refs/convert/parquet"  # the branch in which the hub keeps its own Parquet copy of a set
HubSource = namedtuple("HubSource", "name revision config split rows")  # no config: the set's default; no rows: all


def parse_hub(source):
    """Split "hub:owner/name[@revision][:config[:split]]" (or a local folder for owner/name); ValueError for another form."""
    found = re.fullmatch(r"(?:hub:)?([^:@]+)(?:@([^:]+))?(?::([^:[]+))?(?::([^:[]+)(?:\[:(\d+)\])?)?", source)
    if not found:
        raise ValueError(f"{source}: expected hub:owner/name[@revision][:config[:split]]")
    name, revision, config, split, rows = found.groups()
    return HubSource(name, revision, config, split or "train", int(rows) if rows else None)


@functools.lru_cache(4)
def load_hub_rows(source):
    """The rows of a hub set as a `datasets.Dataset`; ValueError says what is wrong and what to do.

    A whole set is downloaded and memory-mapped. Of a split with a number of rows, only these are downloaded, into memory.
    """
    name, revision, config, split, rows = parse_hub(source)
    from datasets import Dataset, load_dataset

    def load(*words, **named):
        if rows:
            return Dataset.from_list(list(load_dataset(*words, **named, streaming=True).take(rows)))
        return load_dataset(*words, **named)

    try:
        try:
            return load(name, config, split=split, revision=revision)
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            if not config:
                return load(name, split=split, revision=PARQUET)
            # that branch has a folder for each configuration, and no card that names them
            files = f"hf://datasets/{name}@{PARQUET}/{config}/{split}/*.parquet"
            return load("parquet", data_files={split: files}, split=split)
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        if "gated" in str(error):
            reason += f". It is gated: ask for access on https://huggingface.co/datasets/{name}, then `hf auth login`"
        if "BuilderConfig" in str(error) or config in ("train", "test", "validation"):
            reason += f". {config!r} stands where the configuration does: write hub:{name}:<config>:<split>"
        raise ValueError(f"{source}: the hub does not give it ({reason})") from None
