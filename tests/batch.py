"""The batch engine as a test calls it: without a network, on two cores."""

import os
import shutil
import subprocess

from blossom.common import paths


def run_snakemake(outputs, *words, folder=paths.ROOT, environment=(), code=0, **config):
    """`snakemake <words> --config outputs=... name=value ...`, which must end with `code`: stdout, stderr."""
    given = [f"{name}={value}" for name, value in {"outputs": outputs, **config}.items()]
    command = ["snakemake", "-c2", "--nolock", *words, "--config", *given]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"} | dict(environment)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == code, (done.stdout + done.stderr)[-8000:]
    return done


def copy_project(folder):
    """Copy the project as it is here, without what is made in it, to `folder`: the folder."""
    made = (".git", ".venv", "outputs", "__pycache__", ".pytest_cache", ".ruff_cache", ".snakemake")
    return shutil.copytree(paths.ROOT, folder, ignore=shutil.ignore_patterns(*made))
