"""Data sets of the hub, written "hub:owner/name[@revision][:config[:split]]"."""

import re
from typing import NamedTuple

FORM = re.compile("(?:hub:)?([^:@]+)(?:@([^:]+))?(?::([^:]+))?(?::([^:]+))?")
PARQUET = "refs/convert/parquet"  # the branch in which the hub keeps its own Parquet copy of a set


class HubSource(NamedTuple):
    """What a "hub:..." source names; no config means the set's default one."""

    name: str
    revision: str | None
    config: str | None
    split: str


def parse_hub(source):
    """The parts of "hub:owner/name[@revision][:config[:split]]"; the split is "train" unless given.

    A local folder may stand in place of owner/name. Raises ValueError for another form.
    """
    found = FORM.fullmatch(source)
    if not found:
        raise ValueError(f"{source}: expected hub:owner/name[@revision][:config[:split]]")
    name, revision, config, split = found.groups()
    return HubSource(name, revision, config, split or "train")


def load_hub_rows(source):
    """The rows of a hub set as a memory-mapped `datasets.Dataset`, which `datasets` keeps on disk.

    A set that is a loading script is read from the hub's Parquet copy. Raises ValueError: what is wrong and what to do.
    """
    name, revision, config, split = parse_hub(source)
    from datasets import load_dataset

    try:
        try:
            return load_dataset(name, config, split=split, revision=revision)
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            if not config:
                return load_dataset(name, split=split, revision=PARQUET)
            # that branch has a folder for each configuration, and no card that names them
            files = f"hf://datasets/{name}@{PARQUET}/{config}/{split}/*.parquet"
            return load_dataset("parquet", data_files={split: files}, split=split)
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        if "gated" in str(error):
            reason += f". It is gated: ask for access on https://huggingface.co/datasets/{name}, then `hf auth login`"
        if "BuilderConfig" in str(error) or config in ("train", "test", "validation"):
            reason += f". {config!r} stands where the configuration does: write hub:{name}:<config>:<split>"
        raise ValueError(f"{source}: the hub does not give it ({reason})") from None
