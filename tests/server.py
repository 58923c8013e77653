"""OpenAI-compatible servers for tests: one that is told what to answer, and `transformers serve` with a random model."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from blossom.instructions.templates import TEMPLATES
from blossom.models.loading import load_model, save_model


def completion(content, finish="stop", usage=None, **message):
    """The body of a chat completion."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content} | message}
    whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
    return json.dumps(whole | {"choices": [choice], "usage": usage})


class LocalServer(ThreadingHTTPServer):
    """A server in a thread of its own, at a free port of this machine (`url`); `handler` writes no log."""

    daemon_threads = True

    def __init__(self, handler):
        handler.log_message = lambda *_: None
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()


class FakeServer(LocalServer):
    """A server whose `reply(body, number)` gives a text, or (status, headers, body or parts); it keeps what it was sent."""

    def __init__(self, reply):
        outer, self.reply, self.bodies, self.keys, self.paths = self, reply, [], [], []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
                outer.bodies.append(body)
                outer.keys.append(self.headers.get("Authorization") or self.headers.get("api-key"))
                outer.paths.append(self.path)
                found = outer.reply(body, len(outer.bodies))
                status, headers, raw = found if isinstance(found, tuple) else (200, {}, completion(found))
                self.send_response(status)
                for name, value in ({"Content-Type": "application/json"} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                for part in [raw.encode()] if isinstance(raw, str) else raw:
                    self.wfile.write(part)

            do_GET = do_HEAD = do_POST

        super().__init__(Handler)
        self.url += "/v1"


@contextlib.contextmanager
def served(model, log, seconds=240):
    """The address of a running `transformers serve` with a tiny random chat model, made in the folder `model`."""
    made, tokenizer = load_model("tiny-byte-level", torch.float32)
    tokenizer.chat_template = TEMPLATES["chatml"]
    save_model(made, tokenizer, model)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.path.join(os.path.dirname(sys.executable), "transformers"), "serve", str(model)]
    command += ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with open(log, "wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        for _ in range(4 * seconds):
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                break
            time.sleep(0.25)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait(20)
