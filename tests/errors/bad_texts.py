"""Rows: texts, downloads and the hub."""

# fmt: off
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

from blossom.assets.registry import fetch_asset
from blossom.assets.sources import HubFile, InRepository, Wheel, fetch_snapshot
from blossom.text.corpus import read_corpus, read_documents
from tests.errors.table import row

TEXTS = "texts"


def lines_of(tmp_path, content, name="ko.txt"):
    """Read a text file with this content through to its end."""
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return list(read_documents(str(tmp_path / name)))


@row(TEXTS, "a file that is not there", ValueError, "novels/ko.txt: no such asset, file or folder (looked for …)",
     "Give its path from the repository's root, or the whole path.")
def no_text():
    list(read_documents("novels/ko.txt"))


@row(TEXTS, "a file in CP949", ValueError,
     "ko.txt, line 2: not UTF-8 (invalid start byte at byte 0). Korean files are often CP949: convert with `iconv",
     "iconv -f cp949 -t utf-8 old.txt > new.txt.")
def cp949(tmp_path):
    lines_of(tmp_path, "첫 줄\n".encode() + "둘째 줄\n".encode("cp949"))


@row(TEXTS, "a file in UTF-16", ValueError, "ko.txt, line 1: not UTF-8 (", "iconv -f utf-16 -t utf-8.")
def utf16(tmp_path):
    lines_of(tmp_path, "첫 줄\n".encode("utf-16"))


@row(TEXTS, "an empty file", ValueError, "ko.txt: holds no text", "Take it out of the list.")
def no_lines(tmp_path):
    lines_of(tmp_path, " \n\n")


@row(TEXTS, "a folder without texts", ValueError, "holds no text", "It must hold .txt, .jsonl or .tsv files.")
def no_files(tmp_path):
    list(read_documents(str(tmp_path)))


@row(TEXTS, "a JSON line without the field `text`", ValueError,
     """ko.jsonl, line 1: expected {"text": "..."}, found '{"txt": "하나"}'""", "Rename the field.")
def no_field(tmp_path):
    lines_of(tmp_path, '{"txt": "하나"}\n', "ko.jsonl")


@row(TEXTS, "a JSON line whose text is null", ValueError,
     """ko.jsonl, line 2: expected {"text": "..."}, found '{"text": null}'""", "Take the line out.")
def null_text(tmp_path):
    lines_of(tmp_path, '{"text": "하나"}\n{"text": null}\n', "ko.jsonl")


@row(TEXTS, "a JSON line nested a hundred thousand deep", ValueError,
     """ko.jsonl, line 1: expected {"text": "..."}, found '[[[""", "Take the line out.")
def deep_json(tmp_path):
    lines_of(tmp_path, "[" * 100_000 + "\n", "ko.jsonl")


@row(TEXTS, "a text smaller than what is held out of it", ValueError,
     "korean_texts: ['…ko.txt'] hold 2 different lines; holding out 20 needs 40", "Give more text, or lower heldout_lines.")
def too_small(tmp_path, smoke):
    (tmp_path / "ko.txt").write_text("하나\n둘\n", encoding="utf-8")
    read_corpus(smoke("03_bilingual_pretraining", korean_texts=[str(tmp_path / "ko.txt")], heldout_lines=20))


@row(TEXTS, "a data set of the hub, without a network", ValueError,
     "hub:someone/texts: the hub does not give it (", "Check the network, or give a file instead.")
def offline_texts():
    list(read_documents("hub:someone/texts"))


@row(TEXTS, "a data set without a column `text`", ValueError, "no column 'text'; it has line",
     "Save that column as a .txt file, and give the file.")
def no_column(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"line": "하나"}\n', encoding="utf-8")
    list(read_documents(f"hub:{tmp_path / 'set'}"))


# ------------------------------------------------------------------------------------------------- assets and the hub

HUB = "downloads and the hub"


@row(HUB, "a name that is no asset, path or hub id", ValueError, "'smollm' is no asset (aligned-en-ja, …",
     "Take a name of the list, a path, or owner/name.")
def no_asset():
    fetch_asset("smollm")


@row(HUB, "a hub model, without a network", RuntimeError,
     "meta-llama/Llama-2-7b-hf could not be fetched from the hub (… Check the network; or copy the files here",
     "Check the network, or give a folder instead of the id.")
def offline():
    fetch_asset("meta-llama/Llama-2-7b-hf")


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


@row(HUB, "a gated model (Llama), without access", RuntimeError,
     "meta-llama/Llama-2-13b-chat-hf is gated: ask for access on https://huggingface.co/meta-llama/Llama-2-13b-chat-hf, "
     "wait for the mail, then `hf auth login`.", "As it says.")
def gated(monkeypatch):
    server = answering(monkeypatch, 403, "GatedRepo")
    try:
        fetch_snapshot("meta-llama/Llama-2-13b-chat-hf")
    finally:
        server.shutdown()


@row(HUB, "a model that the hub does not have", RuntimeError,
     "no/such-model: the hub has no such model, or it is private (`hf auth login`).", "Correct the id, or log in.")
def no_model(monkeypatch):
    server = answering(monkeypatch, 404, "RepoNotFound")
    try:
        fetch_snapshot("no/such-model")
    finally:
        server.shutdown()


@row(HUB, "the hub answers 500", RuntimeError, "some/model could not be fetched from the hub (…500", "Try again later.")
def hub_down(monkeypatch):
    server = answering(monkeypatch, 500, "")
    try:
        fetch_snapshot("some/model")
    finally:
        server.shutdown()


@row(HUB, "one file of the hub, without a network", RuntimeError,
     "meta-llama/Llama-2-13b-chat-hf could not be fetched from the hub (", "Set BLOSSOM_ASSETS to a folder that has it.")
def offline_file():
    HubFile("meta-llama/Llama-2-13b-chat-hf", "no-such-file.model").find()


@row(HUB, "a wheel that is not the pinned one", RuntimeError,
     "pairs-1.0-py3-none-any.whl: its sha256 is …, expected 000… remove … and try again, or try another index.",
     "As it says: nothing of the file was opened.")
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


@row(HUB, "a clone that lacks a file of the repository", RuntimeError,
     "data/text/gone.txt is missing: the clone is incomplete (git status; git checkout -- data/text/gone.txt)",
     "As it says.")
def incomplete():
    InRepository("data/text/gone.txt").find()
