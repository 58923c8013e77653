"""The batch engine as a test calls it: without a network, on two cores."""

import os
import subprocess

from blossom.common import paths


def run_snakemake(outputs, *words, folder=paths.ROOT, environment=(), **config):
    """`snakemake <words> --config outputs=... name=value ...`, finished: returncode, stdout, stderr."""
    given = [f"{name}={value}" for name, value in {"outputs": outputs, **config}.items()]
    command = ["snakemake", "-c2", "--nolock", *words, "--config", *given]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"} | dict(environment)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
