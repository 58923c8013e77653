"""Rows: texts, downloads and the hub."""

# fmt: off
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from blossom.assets.registry import fetch_asset
from blossom.assets.sources import fetch_hub_file, fetch_snapshot
from blossom.common import paths
from blossom.text.corpus import read_corpus, read_documents
from tests.errors.table import case, file_case

TEXTS = "texts"


def read(path):
    return list(read_documents(str(path)))


for wrong, name, content, *words in (
    ("a file in CP949", "ko.txt", "첫 줄\n".encode() + "둘째 줄\n".encode("cp949"), "ko.txt, line 2", "not UTF-8", "iconv"),
    ("a file in UTF-16", "ko.txt", "첫 줄\n".encode("utf-16"), "ko.txt, line 1", "not UTF-8"),
    ("an empty file", "ko.txt", " \n\n", "ko.txt", "holds no text"),
    ("a JSON line without the field `text`", "ko.jsonl", [{"txt": "하나"}], "ko.jsonl, line 1", "found {'txt': '하나'}"),
    ("a JSON line whose text is null", "ko.jsonl", [{"text": "하나"}, {"text": None}], "ko.jsonl, line 2", "{'text': None}"),
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

@case(TEXTS, "a data set without a column `text`", ValueError, "row 1", "field 'text'", "found {'line': '하나'}")
def no_column(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"line": "하나"}\n', encoding="utf-8")
    read(f"hub:{tmp_path / 'set'}")



HUB = "downloads and the hub"
case(HUB, "a name that is no asset, path or hub id", ValueError, "'smollm'", "aligned-en-ja")(lambda: fetch_asset("smollm"))


def answering(monkeypatch, status, code):
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

@case(HUB, "a clone that lacks a file of the repository", RuntimeError, "data/text/general_ko.txt", "git checkout")
def no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    fetch_asset("general-ko")
