"""Rows: texts, downloads and the hub."""

# fmt: off
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

from blossom.assets.registry import _find_in_repository, fetch_asset
from blossom.assets.sources import Wheel, fetch_hub_file, fetch_snapshot
from blossom.text.corpus import read_corpus, read_documents
from tests.errors.table import case, file_case

TEXTS = "texts"


def read(path):
    """Read a text file through to its end."""
    return list(read_documents(str(path)))


for wrong, name, content, *words in (
    ("a file in CP949", "ko.txt", "첫 줄\n".encode() + "둘째 줄\n".encode("cp949"), "ko.txt, line 2", "not UTF-8", "iconv"),
    ("a file in UTF-16", "ko.txt", "첫 줄\n".encode("utf-16"), "ko.txt, line 1", "not UTF-8"),
    ("an empty file", "ko.txt", " \n\n", "ko.txt", "holds no text"),
    ("a JSON line without the field `text`", "ko.jsonl", [{"txt": "하나"}], "ko.jsonl, line 1", "found {'txt': '하나'}"),
    ("a JSON line whose text is null", "ko.jsonl", [{"text": "하나"}, {"text": None}], "ko.jsonl, line 2", "{'text': None}"),
    ("a JSON line nested a hundred thousand deep", "ko.jsonl", "[" * 100_000, "ko.jsonl, line 1", "not valid JSON"),
):
    file_case(TEXTS, wrong, read, name, content, *words)

case(TEXTS, "a file that is not there", ValueError, "novels/ko.txt", "no such asset, file or folder")(
    lambda: read("novels/ko.txt"))
case(TEXTS, "a folder without texts", ValueError, "holds no text")(lambda tmp_path: read(tmp_path))

@case(TEXTS, "a text smaller than what is held out of it", ValueError, "korean_texts", "ko.txt", "2 different lines",
     "heldout_lines")
def too_small(tmp_path, smoke):
    (tmp_path / "ko.txt").write_text("하나\n둘\n", encoding="utf-8")
    read_corpus(smoke("03_bilingual_pretraining", korean_texts=[str(tmp_path / "ko.txt")], heldout_lines=20))

case(TEXTS, "a data set of the hub, without a network", ValueError, "hub:someone/texts", "the hub does not give it")(
    lambda: read("hub:someone/texts"))

@case(TEXTS, "a data set without a column `text`", ValueError, "row 1", "field 'text'", "found {'line': '하나'}")
def no_column(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"line": "하나"}\n', encoding="utf-8")
    read(f"hub:{tmp_path / 'set'}")


# ------------------------------------------------------------------------------------------------- assets and the hub

HUB = "downloads and the hub"
case(HUB, "a name that is no asset, path or hub id", ValueError, "'smollm'", "aligned-en-ja")(lambda: fetch_asset("smollm"))
case(HUB, "a hub model, without a network", RuntimeError, "meta-llama/Llama-2-7b-hf", "could not be fetched", "network")(
    lambda: fetch_asset("meta-llama/Llama-2-7b-hf"))


def answering(monkeypatch, status, code):
    """The hub's own client (huggingface_hub), asked of a server that refuses everything in the hub's way."""
    import huggingface_hub
    from huggingface_hub import constants

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", "no")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    address = f"http://127.0.0.1:{server.server_port}"
    real = huggingface_hub.snapshot_download
    elsewhere = {"endpoint": address, "token": False}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **words: real(repo, **elsewhere, **words))
    return server

for wrong, status, code, repo, words in (
    ("a gated model (Llama), without access", 403, "GatedRepo", "meta-llama/Llama-2-13b-chat-hf",
     ("gated", "https://huggingface.co/meta-llama/Llama-2-13b-chat-hf", "`hf auth login`")),
    ("a model that the hub does not have", 404, "RepoNotFound", "no/such-model", ("no such model", "`hf auth login`")),
    ("the hub answers 500", 500, "", "some/model", ("some/model", "could not be fetched", "500")),
):
    @case(HUB, wrong, RuntimeError, *words)
    def refused(monkeypatch, status=status, code=code, repo=repo):
        server = answering(monkeypatch, status, code)
        try:
            fetch_snapshot(repo)
        finally:
            server.shutdown()

case(HUB, "one file of the hub, without a network", RuntimeError, "meta-llama/Llama-2-13b-chat-hf", "could not be fetched")(
    lambda: fetch_hub_file("meta-llama/Llama-2-13b-chat-hf", "no-such-file.model"))

@case(HUB, "a wheel that is not the pinned one", RuntimeError, "pairs-1.0-py3-none-any.whl", "sha256", "expected 000")
def other_wheel(tmp_path, monkeypatch):
    wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    Wheel("pairs", "1.0", "0" * 64).fetch(tmp_path / "downloads")


def wheel(folder):
    """A small real wheel."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "pairs-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("pairs/__init__.py", "")
        archive.writestr("pairs-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: pairs\nVersion: 1.0\n")
        archive.writestr("pairs-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("pairs-1.0.dist-info/RECORD", "")
case(HUB, "a clone that lacks a file of the repository", RuntimeError, "data/text/gone.txt", "missing", "git checkout")(
    lambda: _find_in_repository("data/text/gone.txt"))
