"""Batch engine: `snakemake -c2 outputs/laptop/report.html` runs what is missing, and resumes after a failure.

A run is done when its manifest.json is there. It is made again when its notebook, its own parameters or an
earlier run changed.
"""

import atexit
import json
import os
import shlex
import sys
from dataclasses import asdict

import yaml

from blossom import forecast, params, paths

OUTPUTS = config.get("outputs", "outputs")
RECIPES = str(config.get("recipes", "base,blossom-bi,blossom-bi-biSFT")).split(",")
MANIFEST = OUTPUTS + "/{scale}/{recipe}/{stage}/manifest.json"
# --config 'set={new_tokens: 64}' changes a parameter of every stage that has it (Snakemake reads the numbers in it as text)
OVERRIDES = {k: yaml.safe_load(v) if isinstance(v, str) else v for k, v in dict(config.get("set", {})).items()}

TRAINING = ("03_bilingual_pretraining", "04_korean_lima_sft")

# What training and scoring need of the processor: huge pages (1.2 times faster heads), no progress noise.
os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
os.environ["BLOSSOM_BATCH"] = "1"
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]


wildcard_constraints:
    scale=r"[\w.-]+",
    recipe=r"[\w.-]+",
    stage="|".join(params.STAGES),


def earlier(w):
    """The manifests a run needs: its notebook's earlier stages, by the recipe's own file and its parents'."""
    if w.stage == "07_report":
        return [MANIFEST.format(scale=w.scale, recipe=r, stage=s) for r in RECIPES for s in params.recipe(r).stages]
    needed = []
    start = params.starting_stage(w.recipe, w.stage)
    if start:
        needed.append(start)
    if w.stage == "06_qualitative_eval":
        p = effective(w)
        recipes = [name for name in (p.compare_with, *p.more_models) if params.recipe_file(name).exists()]
        needed += filter(None, (params.starting_stage(name, w.stage) for name in recipes))
    return [MANIFEST.format(scale=w.scale, recipe=r, stage=s) for r, s in dict.fromkeys(needed)]


def effective(w):
    return params.effective(w.stage, w.scale, w.recipe, outputs=OUTPUTS, **OVERRIDES)


def own(w):
    """The parameters that are this call's own, in no file."""
    given = {"recipe": w.recipe, "outputs": OUTPUTS} | ({"recipes": RECIPES} if w.stage == "07_report" else {})
    return given | {name: value for name, value in OVERRIDES.items() if name in asdict(effective(w))}


def files(w):
    """papermill's words: the layers, then what is this call's own (later ones win)."""
    recipe = f"-f params/recipes/{w.recipe}.yaml" if w.stage != "07_report" else ""
    return f"-f params/scales/{w.scale}.yaml {recipe} -y {shlex.quote(json.dumps(own(w), ensure_ascii=False))}"


LEDGER = forecast.Ledger(**OVERRIDES)
atexit.register(lambda: workflow.dryrun and print(LEDGER.tables()))  # `snakemake -n` ends with hours, memory and disk


def asked(name):
    """A resource of a run, which is what a cluster is asked for."""
    return lambda w: LEDGER.resource(name, effective(w), w.stage)


rule report:
    input:
        MANIFEST.format(scale="{scale}", recipe="report", stage="07_report"),
    output:
        OUTPUTS + "/{scale}/report.html",
    shell:
        "cp {OUTPUTS}/{wildcards.scale}/report/07_report/report.html {output}"


rule stage:
    input:
        notebook="notebooks/{stage}.ipynb",
        earlier=earlier,
    output:
        MANIFEST,
    wildcard_constraints:
        stage="|".join(stage for stage in params.STAGES if stage not in TRAINING),
    params:
        effective=lambda w: asdict(effective(w)),
        files=files,
        launch=lambda w: forecast.launch(w.stage, effective(w), LEDGER.assumptions(w.scale), own(w)),
        folder=lambda w, output: os.path.dirname(str(output)),
    resources:
        mem_mb=asked("mem_mb"),
        disk_mb=asked("disk_mb"),
        runtime=asked("runtime"),
        gpu=asked("gpu"),
    shell:
        "mkdir -p {params.folder} && {params.launch}papermill {input.notebook} {params.folder}/notebook.ipynb"
        " {params.files} --cwd . --log-output --no-progress-bar --stdout-file /dev/stderr"


# Training uses both cores; the other stages one each, so that two of them run side by side.
use rule stage as training with:
    output:
        MANIFEST,
    wildcard_constraints:
        stage="|".join(TRAINING),
    threads: 2
    priority: 10
