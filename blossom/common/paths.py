"""Paths of the project, and files that are written completely or not at all."""

import errno
import hashlib
import json
import os
import platform
import resource
import shutil
import stat
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
os.umask(UMASK := os.umask(0))  # it can only be read by setting it
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, quota used up, file too large


@contextmanager
def write_atomically(target):
    """Yield a temporary path beside `target` (file or folder), renamed to `target` only if the block succeeds."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (target.with_name(f".{target.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    _remove(temporary)
    try:
        yield temporary
        for file in [temporary, *temporary.rglob("*")]:  # libraries write through files that only their owner may read
            if file.is_file() and not file.is_symlink():
                file.chmod(stat.S_IMODE(file.stat().st_mode) | 0o666 & ~UMASK)
        if target.is_dir() and temporary.is_dir():  # a folder cannot be renamed to one that has files
            _remove(old)
            os.replace(target, old)
        os.replace(temporary, target)
        _remove(old)
    except Exception as error:
        if is_disk_full(error):
            number = getattr(error, "errno", None) or errno.ENOSPC
            raise OSError(number, "no space left to write it; free some, then run again", str(target)) from None
        raise
    finally:
        _remove(temporary)


def is_disk_full(error):
    """Whether an exception, by its number or its text, says that the disk or the user's quota is full."""
    return getattr(error, "errno", None) in FULL or any(os.strerror(n) in str(error) for n in FULL)


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path, text):
    """Write a str to a file as UTF-8, atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
    """Write indented JSON atomically; ValueError for NaN."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def read_json(path):
    """Read a JSON file; ValueError names a file that is not valid."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def read_yaml_beside(module):
    """The content of the YAML file beside a module's `__file__`, of the same name."""
    return yaml.safe_load(Path(module).with_suffix(".yaml").read_text(encoding="utf-8"))


def hash_path(path):
    """SHA-256 (hex) of a file, or of the names and contents of all files in a folder."""
    path, digest = Path(path), hashlib.sha256()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    for file in [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file()):
        if file != path:
            digest.update(str(file.relative_to(path)).encode())
        with open(file, "rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()


def outputs_root(outputs):
    """The absolute path of the outputs folder; a relative one starts at the repository."""
    return (ROOT / outputs).resolve()


def stage_folder(outputs, scale, recipe, stage):
    """The absolute path `outputs/<scale>/<recipe>/<stage>`; it is not created."""
    return outputs_root(outputs) / scale / recipe / stage


def peak_bytes():
    """The largest resident memory of this process so far, in bytes."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
