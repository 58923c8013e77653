"""A small stand-in of the hub on localhost: what huggingface_hub and datasets ask of it, over a folder of repositories."""

import json
import os
import re
import ssl
import subprocess
from hashlib import sha1
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from blossom.common import paths
from tests.server import LocalServer

ROUTE = re.compile(r"(?:/api)?/(?:(models|datasets)/)?([^/]+/[^/]+?)(?:/(revision|tree|paths-info|resolve)/([^/]+)/?(.*))?")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self):  # as the proxy of another address, whose files lie in `folder`/files
        host = self.path.split(":")[0]
        self.server.asked.append(f"CONNECT {host}")
        if not (self.server.folder / "files" / host).is_dir():
            return self.reply(403, {"error": f"no network beside the hub: {host}"})
        self.send_response(200)
        self.end_headers()
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False
        self.host = host

    def do_GET(self):
        asked, path = self.rfile.read(int(self.headers.get("Content-Length") or 0)), urlsplit(self.path).path
        self.server.asked.append(path)
        fault = next((self.server.faults.pop(p) for p in list(self.server.faults) if re.search(p, path)), None)
        if fault == "503":
            return self.reply(503, {"error": "overloaded"})
        if hasattr(self, "host"):
            return self.send(self.server.folder / "files" / self.host / path[1:], "", fault)
        kind, name, action, revision, rest = ROUTE.fullmatch(path).groups()
        home = self.server.folder / (kind or "models") / name
        if name in self.server.gated and "Authorization" not in self.headers:
            return self.reply(401, {"error": f"Access to {name} is restricted."}, "GatedRepo")
        found = {sha1(str(d).encode()).hexdigest(): d for d in home.glob("*/")}  # commit -> folder
        commit = next((c for c, d in found.items() if (revision or "main") in (c, d.name)), "")
        if not commit:
            return self.reply(404, {"error": "not found"}, "RevisionNotFound" if found else "RepoNotFound")
        folder, rest = found[commit], unquote(rest or "")
        if action == "resolve":
            return self.send(folder / rest, commit, fault)
        if action == "tree":
            deep = "recursive=true" in self.path.lower()
            return self.reply(200, [describe(f, folder) for f in sorted((folder / rest).glob("**/*" if deep else "*"))])
        if action == "paths-info":
            asked = asked.decode()
            wanted = json.loads(asked)["paths"] if asked[0] == "{" else re.findall("paths=([^&]*)", unquote(asked))
            return self.reply(200, [describe(folder / w, folder) for w in wanted if (folder / w).exists()])
        files = [{"rfilename": str(f.relative_to(folder))} for f in sorted(folder.rglob("*")) if f.is_file()]
        return self.reply(200, {"id": name, "sha": commit, "private": False, "tags": [], "downloads": 0, "siblings": files})

    do_HEAD = do_POST = do_GET

    def send(self, file, commit, fault):
        """Send a file or the part of it that is asked for; with fault "cut", half of that."""
        if not file.is_file():
            return self.reply(404, {"error": "no such file"}, "EntryNotFound")
        data = file.read_bytes()
        part = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = (int(part[1]), min(int(part[2] or len(data)) + 1, len(data))) if part else (0, len(data))
        headers = {"ETag": f'"{sha1(data).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        headers |= {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"} if part else {}
        self.reply(206 if part else 200, data[start:end], headers=headers, cut=fault == "cut")

    def reply(self, status, body, error="", headers=(), cut=False):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers = {"Content-Length": len(body), "X-Error-Code": error, "X-Error-Message": error} | dict(headers)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut


def describe(path, folder):
    """An entry of the hub's listing of a folder."""
    size, kind = (path.stat().st_size, "file") if path.is_file() else (0, "directory")
    return {"type": kind, "oid": sha1(str(path).encode()).hexdigest(), "size": size, "path": str(path.relative_to(folder))}


class HubServer(LocalServer):
    """Serves <models or datasets>/<owner>/<name>/<revision>/ below `folder`; `asked` has the paths of all requests.

    gated   ids that answer 401 without a token
    faults  {pattern of a path: "503" or "cut"}: the first request that matches is answered so
    """

    def __init__(self, folder, gated=(), faults=()):
        self.folder, self.gated, self.faults, self.asked = folder, gated, dict(faults), []
        super().__init__(Handler)

    def handle_error(self, request, client_address):
        """A client that hangs up is no fault."""

    def environment(self, home):
        """The variables of a process that has this hub, its cache in `home`, and no other files or network."""
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_TOKEN": "hf_any", "HF_HUB_OFFLINE": "0"}
        own |= {"BLOSSOM_CACHE": f"{home}/blossom", "BLOSSOM_ASSETS": "", "PYTHONPATH": str(paths.ROOT)}
        own |= {"HTTPS_PROXY": self.url, "NO_PROXY": "127.0.0.1"}
        return os.environ | own | {"SSL_CERT_FILE": str(self.certify("raw.githubusercontent.com"))}

    def certify(self, host):
        """Make the certificate with which this server answers for `host` as a proxy: its file."""
        key, file = self.folder / "key.pem", self.folder / "certificate.pem"
        words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={host}"]
        words += ["-addext", f"subjectAltName=DNS:{host}", "-keyout", key, "-out", file]
        subprocess.run(words, check=True, capture_output=True)
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain(file, key)
        return file
