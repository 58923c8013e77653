"""Paths of the project, and files that are written completely or not at all."""

import atexit
import codecs
import ctypes
import errno
import functools
import hashlib
import json
import os
import re
import reprlib
import resource
import shutil
import stat
import sys
import tempfile
import unicodedata
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import yaml
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

ROOT = Path(__file__).resolve().parent.parent.parent
os.umask(UMASK := os.umask(0))  # it can only be read by setting it
DEPTH = 100  # of nested lists and objects in a JSON file
# what systems and editors put beside data, and what archives say about it
HIDDEN = r"(\..*|__MACOSX|Thumbs.db|desktop.ini|.*~|#.*#|~\$.*|@eaDir|\$RECYCLE.BIN|lost\+found)/?|LICEN[CS]E|README|\w+SUMS"
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that no text has, in UTF-8 or CP949
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, quota used up, file too large
# of a control group, version 2 or 1: its limit, what it uses, and how much of that is files that can be dropped
CGROUP = {"": ("max", "current", "inactive_file"), "memory": ("limit_in_bytes", "usage_in_bytes", "total_inactive_file")}


@functools.cache
def make_temporary_folder(why):
    """Make a folder that is removed when the process ends, and say why; the same `why` gets the same folder."""
    folder = Path(tempfile.mkdtemp(prefix="blossom-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    print(f"{why}; {folder} is used, until this process ends", file=sys.stderr)
    return folder


if not os.path.isabs(os.path.expanduser("~")):  # which libraries ask for
    os.environ["HOME"] = str(make_temporary_folder("there is no home folder (HOME)"))


@contextmanager
def write_atomically(target):
    """Yield a temporary path beside `target` (file or folder), which takes its place only if the block succeeds.

    It is on the disk then, with the umask's permissions. What a killed call left is removed by the next.
    """
    (target := Path(target)).parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(target.parent, target.name)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield temporary
        for path in [temporary, *(p for p in temporary.rglob("*") if not p.is_symlink())]:
            path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o777 if path.is_dir() else 0o666) & ~UMASK)
            _sync(path)
        replace_path(temporary, target)
    except Exception as error:
        if is_disk_full(error):
            number = getattr(error, "errno", None) or errno.ENOSPC
            raise OSError(number, "no space left to write it; free some, then run again", str(target)) from None
        raise
    finally:
        remove_path(temporary)


def replace_path(new, target):
    """Give the file or folder `new` the name `target`, and remove what had this name."""
    both_folders = target.is_dir() and new.is_dir()  # one cannot be renamed to one that has files
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    if both_folders and not _exchange(new, target):
        shutil.move(target, old)  # copies what lies on another file system, as a folder of a container's image does
    if not both_folders or not target.exists():
        os.replace(new, target)
    _sync(target.parent)
    for path in (old, new) if both_folders else ():
        remove_path(path)


def clear_leftovers(folder, name=""):
    """Remove what killed calls of `write_atomically` left in a folder, of one target or of all.

    A folder that was moved away before its successor came gets its name back.
    """
    for left in os.listdir(folder):
        found = re.fullmatch(r"\.(.+)\.(\d+)\.(part|old)", left)
        if not found or name not in ("", found[1]) or int(found[2]) != os.getpid() and psutil.pid_exists(int(found[2])):
            continue
        if found[3] == "old" and not Path(folder, found[1]).exists():
            os.replace(Path(folder, left), Path(folder, found[1]))
        remove_path(Path(folder, left))


def _sync(path):
    """Wait until a file, or the names in a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError:
        if not path.is_dir():  # some file systems refuse to for folders
            raise
    finally:
        os.close(opened)


def _exchange(one, other):
    """Exchange two folders in one step, by Linux's renameat2; False where that is not possible."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename) and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def is_disk_full(error):
    """Whether an exception, by its number or its text, says that the disk or the user's quota is full."""
    return getattr(error, "errno", None) in FULL or any(os.strerror(n) in str(error) for n in FULL)


def remove_path(path):
    """Remove a file, a link or a folder, if it is there."""
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


def read_json(path, shape=None):
    """Read a JSON file, as `parse_json` says; ValueError also for a file that is missing, no plain file or not readable."""
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file, or no plain file")
    try:
        return parse_json(Path(path).read_bytes(), path, shape)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None


def parse_json(data, place, shape=None, strict=True):
    """The value in JSON (str, or UTF-8 bytes); ValueError names `place`, with what was found and what was expected.

    shape   the type expected, as pydantic reads it; {key: type} for an object that may have other keys too; None: any
    strict  refuse NaN, Infinity and halves of characters too, which data sets have

    Refused: integers of more than 40 digits, values nested over DEPTH deep.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = DECODER.decode(text)
        if text.count("[") + text.count("{") > DEPTH:
            _check_depth(value)
        if strict:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # what was read can be written
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not valid JSON ({error})") from None
    return value if shape is None else check_shape(value, place, shape)


def check_shape(value, place, shape):
    """Return a value that has the `shape` of `parse_json`; ValueError names `place` for another."""
    try:
        _read_shape(tuple(shape.items()) if isinstance(shape, dict) else shape).validate_python(value, strict=True)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        at, told = ".".join(map(str, wrong["loc"])), wrong["msg"].replace("Input should be", "expected")
        found = f"{type(wrong['input']).__name__} {reprlib.repr(wrong['input'])[:200]}"
        raise ValueError(f"{place}: {at}{': ' * bool(at)}{told}, found {found}") from None
    return value


@functools.cache
def _read_shape(shape):
    return TypeAdapter(TypedDict("Fields", dict(shape)) if isinstance(shape, tuple) else shape)


def _check_depth(value):
    depth, level = 0, [value]
    while level := [v for x in level if isinstance(x, dict | list) for v in (x.values() if isinstance(x, dict) else x)]:
        depth += 1
    if depth > DEPTH:
        raise ValueError(f"nested {depth} deep, expected at most {DEPTH}")


def _parse_int(digits):
    if len(digits) > 40:  # transformers writes 10**30 for no limit
        raise ValueError(f"an integer of {len(digits)} digits, expected at most 40")
    return int(digits)


DECODER = json.JSONDecoder(parse_int=_parse_int)


def read_yaml_beside(module):
    """The content of the YAML file beside a module's `__file__`, of the same name."""
    return yaml.safe_load(Path(module).with_suffix(".yaml").read_text(encoding="utf-8"))


def hash_path(path):
    """SHA-256 (hex) of a file, or of the names and contents of the files of `list_files`."""
    path, digest = Path(path), hashlib.sha256()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    for file in list_files(path):
        if file != path:
            digest.update(str(file.relative_to(path)).encode())
        with open(file, "rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()


def find_path(path):
    """`path`, or the existing path whose names differ from it in Unicode's normal form alone (macOS decomposes Hangul)."""
    path = Path(path)
    if os.path.exists(path) or path == path.parent:  # False for a name that is too long, where `Path.exists` raises
        return path
    parent, own = find_path(path.parent), unicodedata.normalize("NFC", path.name)
    beside = parent.iterdir() if parent.is_dir() else ()
    return next((f for f in beside if unicodedata.normalize("NFC", f.name) == own), parent / path.name)


def list_files(path):
    """The file, or all files below a folder, in order and without hidden ones; ValueError names what is no regular file."""

    def refuse(error):
        raise ValueError(f"{error.filename}: cannot be read ({error.strerror})")

    inside = (Path(folder, name) for folder, *names in os.walk(path, onerror=refuse) for name in (*names[0], *names[1]))
    found = sorted(f for f in inside if not is_hidden(f.relative_to(path))) if path.is_dir() else [path]
    files = [f for f in found if f.is_symlink() or not f.is_dir()]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file}: expected a file, found a pipe, a device, or a link to a folder or to nothing")
    return files


def is_hidden(name):
    """Whether a relative path is, or lies in, what macOS, Windows or an editor hides; it is no data."""
    return any(re.fullmatch(HIDDEN, part, re.IGNORECASE) for part in re.findall("[^/]+/?", Path(name).as_posix()))


def decode_text(data, place, start=b""):
    """The text of UTF-8 bytes, without BOM; ValueError says what they are instead. start: the beginning of their file."""
    try:
        return data.decode().removeprefix("\ufeff")  # five times faster than the codec utf-8-sig
    except UnicodeDecodeError as error:
        told = f"not UTF-8 ({error.reason} at byte {error.start})"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        told += ": it is UTF-16, convert it with `iconv -f utf-16 -t utf-8`"
    elif CONTROL.search(start or data):
        told += ": a binary file, not text"
    elif "\ufffd" not in data.decode("cp949", "replace"):
        told += ". Korean files are often CP949: convert with `iconv -f cp949 -t utf-8`."
    raise ValueError(f"{place}: {told}")


def outputs_root(outputs):
    """The absolute path of the outputs folder; a relative one starts at the repository."""
    return (ROOT / outputs).resolve()


def stage_folder(outputs, scale, recipe, stage):
    """The absolute path `outputs/<scale>/<recipe>/<stage>`; it is not created."""
    return outputs_root(outputs) / scale / recipe / stage


def unfinished_folder(folder):
    """Where the run of a stage writes until it is finished; then this folder takes the place of `folder`."""
    return Path(f"{folder}.unfinished")


def free_memory(groups=Path("/sys/fs/cgroup"), own=Path("/proc/self/cgroup")):
    """Bytes of memory that this process can still take: of the machine, of its control groups, of `ulimit -v`."""
    free, limit = [psutil.virtual_memory().available], resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        free.append(limit - psutil.Process().memory_info().vms)
    lines = (line.split(":", 2) for line in (own.read_text().splitlines() if own.exists() else []))
    for folder, names in ((groups / kind / path.strip("/"), CGROUP[kind]) for _, kind, path in lines if kind in CGROUP):
        for group in (folder, *folder.parents):
            with suppress(OSError, ValueError):  # no group, or one without a limit ("max")
                limit, used = (int((group / f"memory.{name}").read_text()) for name in names[:2])
                dropped = re.search(rf"^{names[2]} (\d+)", (group / "memory.stat").read_text(), re.M)
                free.append(limit - used + int(dropped[1] if dropped else 0))
    return max(0, min(free))
