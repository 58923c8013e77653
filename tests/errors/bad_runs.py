"""Rows: memory, disk, kills, and runs that meet. Disks are really full, processes really killed, locks really held."""

# fmt: off
import contextlib
import resource
import subprocess
import sys
import time

import filelock

from blossom.common import paths
from blossom.instructions.translation import ServedTranslator, translate_examples
from blossom.models.loading import load_model, save_model
from blossom.training import checkpoints, loop
from blossom.training.settings import TrainingSettings
from tests.errors.bad_models import adapted, rows
from tests.errors.table import case

RUNS = "memory, disk, kills, several runs at once"


@contextlib.contextmanager
def full_disk(bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


for wrong, name, write in (
    ("a full disk while a result is written", "metrics.json", lambda file: paths.write_json(file, {"loss": "x" * 99_999})),
    ("a full disk while a model is saved", "model", lambda folder: save_model(*load_model("tiny-byte-level"), folder)),
):
    @case(RUNS, wrong, OSError, "no space left", name)
    def full(tmp_path, name=name, write=write):
        paths.write_json(tmp_path / "metrics.json", {"loss": 1.0})
        try:
            with full_disk(20_000):
                write(tmp_path / name)
        finally:
            assert paths.read_json(tmp_path / "metrics.json") == {"loss": 1.0} and len(list(tmp_path.iterdir())) == 1

@case(RUNS, "a full disk while a checkpoint is written", RuntimeError, "checkpoints", "no space left", "step-000001")
def full_checkpoint(tmp_path, monkeypatch):
    settings, write = TrainingSettings(batch_size=2, precision="float32", checkpoint_minutes=0), checkpoints.write_checkpoint
    with contextlib.ExitStack() as stack:

        def write_then_fill(*words):
            write(*words)
            stack.enter_context(full_disk(5000))

        monkeypatch.setattr(checkpoints, "write_checkpoint", write_then_fill)
        loop.train_model(adapted(), rows(count=4), settings, tmp_path, report=lambda line: None)

@case(RUNS, "a training that is asked to end (kill, a job's time limit)", RuntimeError, "after step 1 of 2",
      "goes on from there")
def asked_to_end(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(time.time() + 60))
    loop.train_model(adapted(), rows(count=4), TrainingSettings(precision="float32"), tmp_path, report=lambda line: None)

@case(RUNS, "a run killed while it writes", None, "metrics.json", "whole")
def killed_writing(tmp_path):
    file = tmp_path / "metrics.json"
    paths.write_json(file, {"loss": 1.0})
    code = "import os, sys\nfrom blossom.common import paths\nw = paths.write_atomically(sys.argv[1])\n"
    code += "w.__enter__().write_text('{')\nos.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, file], cwd=paths.ROOT).returncode == -9
    whole = paths.read_json(file) == {"loss": 1.0}
    return f"nothing of it: {file.name} is the earlier one, {'whole' if whole else 'broken'}"

@case(RUNS, "two trainings in one folder", RuntimeError, "another process is training there", "outputs")
def two_trainings(tmp_path):
    with filelock.FileLock(tmp_path / ".training.lock"):
        loop.train_model(adapted(), rows(), TrainingSettings(precision="float32"), tmp_path)

@case(RUNS, "two translations into one folder", RuntimeError, "another run", "wait")
def two_translations(tmp_path):
    server = ServedTranslator("http://127.0.0.1:9/v1", "tiny", tmp_path)
    with filelock.FileLock(server.store.folder / ".lock"):
        translate_examples([], server)
