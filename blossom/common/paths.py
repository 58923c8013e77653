"""Where files lie, and writing them whole or not at all."""

import errno
import hashlib
import json
import os
import platform
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, quota used up, file too large


@contextmanager
def write_atomically(target):
    """Yield a temporary path beside `target` (file or folder); rename it to `target` only if the block succeeds.

    After an error the temporary path is removed and an earlier `target` is unchanged.
    Raises OSError naming `target` when the disk is full, whichever library noticed it.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (target.with_name(f".{target.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    _remove(temporary)
    try:
        yield temporary
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
    """Whether an error, by its number or its text, says that the disk or the user's quota is full."""
    return getattr(error, "errno", None) in FULL or any(os.strerror(n) in str(error) for n in FULL)


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path, text):
    """Write a str to a file as UTF-8, whole or not at all."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
    """Write indented JSON, Korean unescaped; ValueError for NaN."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def read_json(path):
    """The value in a JSON file; FileNotFoundError or ValueError names the file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def hash_path(path):
    """SHA-256 (hex) of a file, or of the names and contents of all files in a folder; FileNotFoundError without either."""
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
    """The outputs folder, absolute; a relative path starts at the repository."""
    return (ROOT / outputs).resolve()


def stage_folder(outputs, scale, recipe, stage):
    """`outputs/<scale>/<recipe>/<stage>`, absolute; not created."""
    return outputs_root(outputs) / scale / recipe / stage


def peak_bytes():
    """The largest resident memory of this process so far, in bytes."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
