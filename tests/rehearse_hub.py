"""Run the larger scales from end to end as a stranger would, from a copy of the project, with the stand-in of the hub.

    make hub-rehearsal        # or: python tests/rehearse_hub.py llama2-7b

Models are tiny and sets have a few rows; of the scales' parameters only sizes are changed (rehearsal.yaml).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from blossom.common import paths
from blossom.text.rows import read_rows
from tests.hub.repositories import fill_hub
from tests.hub.server import HubServer

SETTINGS = yaml.safe_load(Path(__file__).with_name("rehearsal.yaml").read_text(encoding="utf-8"))


def copy_project(folder):
    """A clone as it is here, with what docs/data.md says is to be put into it, small."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=paths.ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if (paths.ROOT / name).is_file() and not name.startswith("outputs/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths.ROOT / name, folder / name)
    pairs = [{"ko": row["ko"], "en": row["en"]} for _, row in read_rows("data/benchmarks/translation.jsonl")]
    paths.write_text(folder / "data/aihub/71265/1.json", json.dumps({"data": pairs}, ensure_ascii=False))
    shutil.copy(folder / "data/instructions/ko.jsonl", folder / "data/korean_lima.jsonl")


def run_scale(project, environment, scale, sizes=(), recipes=""):
    """Run all stages of a scale, and print the time of each: whether all came to an end."""
    config = ["set=" + json.dumps(SETTINGS["sizes"] | dict(sizes)), *[f"recipes={recipes}"] * bool(recipes)]
    words = ["snakemake", f"outputs/{scale}/report.html", "-c1", "-k", "--nolock", "--quiet", "rules", "--config", *config]
    start = time.time()
    with open(project / f"{scale}.log", "a") as log:
        done = subprocess.run(words, cwd=project, env=environment, stdout=log, stderr=log).returncode == 0
    for manifest in sorted(project.glob(f"outputs/{scale}/*/*/manifest.json"), key=os.path.getmtime):
        if os.path.getmtime(manifest) > start:
            linked = (manifest.parent / "params.yaml").is_symlink()
            took = "linked" if linked else f"{paths.read_json(manifest)['wall_seconds']:.0f} s"
            print(f"{scale:14} {manifest.parts[-3]:22} {manifest.parts[-2]:26} {took:>7}")
    ended = "passed" if done else f"FAILED: {project / scale}.log"
    print(f"{scale:14} {ended} {time.time() - start:.0f} s", flush=True)
    return done


def main(scales):
    folder = Path(tempfile.mkdtemp(prefix="hub-rehearsal-"))
    hub = HubServer(folder / "hub", fill_hub(folder / "hub"), SETTINGS["faults"])
    copy_project(folder / "project")
    environment = hub.environment(folder / "home") | {"PYTHONPATH": str(folder / "project"), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, *SETTINGS["prepare"].split()], cwd=folder / "project", env=environment, check=True)
    chosen = [run for run in SETTINGS["runs"] if not scales or run["scale"] in scales]
    if not all([run_scale(folder / "project", environment, **run) for run in chosen]):
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
