"""A real OpenAI-compatible server for tests: `transformers serve` with a tiny random model; what it says means nothing."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request

import torch

from blossom.instructions.templates import TEMPLATES
from blossom.models.loading import load_model, save_model


def save_tiny_model(folder):
    """A tiny random chat model in `folder`."""
    model, tokenizer = load_model("tiny-byte-level", torch.float32)
    tokenizer.chat_template = TEMPLATES["chatml"]
    save_model(model, tokenizer, folder)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def served(model, port, log, seconds=240):
    """The running server's process; it answers at http://127.0.0.1:<port>/v1 and is ended afterwards."""
    command = [os.path.join(os.path.dirname(sys.executable), "transformers"), "serve", str(model)]
    command += ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with open(log, "wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, log, seconds)
        yield process
    finally:
        process.kill()
        process.wait(20)


def _wait(url, process, log, seconds):
    for _ in range(seconds * 4):
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.25)
    raise AssertionError(f"the server did not start in {seconds} s: {log.read_text(errors='replace')[-2000:]}")
