"""Batch engine: `snakemake -c2 outputs/laptop/report.html` runs what is missing, and resumes after a failure.

A run is done when its manifest.json is there. It is made again when its notebook, its own parameters, a file
that they name or an earlier run changed. Runs that are the same (one vocabulary merge for several recipes) are made once and linked.
"""

import atexit
import functools
import json
import os
import re
import shlex
import sys
from dataclasses import asdict

from blossom.batch import plan, resources, terminal
from blossom.common import params, paths, stages
from snakemake.logging import logger
from snakemake.settings.enums import Quietness

NAMED = {"outputs": "outputs", "sweeps": "params/sweeps", "report": "report"}
OUTPUTS, DEFINITIONS, REPORT = (os.path.normpath(str(config.get(name) or usual)) for name, usual in NAMED.items())

try:
    if wrong := config.keys() - {*NAMED, "set", "recipes"}:
        raise ValueError(f"--config {min(wrong)}: give a parameter as --config 'set={{{min(wrong)}: ...}}'")
    # --config 'set={new_tokens: 64}' changes a parameter of every stage that has it
    OVERRIDES = params.parse_overrides(config.get("set", {}), "--config set")
    if rows := config.get("recipes"):  # the report's, in place of the scale's own
        OVERRIDES["recipes"] = rows if isinstance(rows, list) else str(rows).split(",")
    PLAN = plan.Plan(OUTPUTS, OVERRIDES, DEFINITIONS)
    for name in [*OVERRIDES.get("recipes", []), *params.recipe_names()]:
        params.recipe_lineage(name)  # refuses a missing recipe or parent, a loop, and a wrong name in a file
    PLAN.sweeps  # read and checked
    PLAN.set_damaged_aside()
except ValueError as error:  # said in one line, before anything is planned
    sys.exit(str(error))

TERMINAL = terminal.Terminal(OUTPUTS, Quietness.ALL in (workflow.output_settings.quiet or ()))
logger.addHandler(TERMINAL)
atexit.register(TERMINAL.live.stop)

MANIFEST = "{root}/{scale}/{recipe}/{stage}/manifest.json"
COMPARISON = OUTPUTS + "/sweeps/{sweep}/comparison-{scale}"
TRAINING = ("03_bilingual_pretraining", "04_korean_lima_sft")

# What training and scoring need of the processor: huge pages (1.2 times faster heads).
os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]


wildcard_constraints:
    root=re.escape(OUTPUTS) + r"(/sweeps/[^/]+/[^/]+)?",
    sweep=r"[\w.-]+",
    scale=r"[^/]+",  # a wrong name is refused where its file is read
    recipe=r"[^/]+",
    stage="|".join(stages.STAGES),


def run_name(w):
    return plan.RunName(w.root, w.scale, w.recipe, w.stage)


def manifest(run):
    return MANIFEST.format(**run._asdict())


def readable(function):
    """`function`, whose ValueError ends the call in one line (Snakemake would add where in our code it was raised)."""

    def of_wildcards(w):
        try:
            return function(w)
        except ValueError as error:
            sys.exit(str(error))

    return of_wildcards


@readable
def earlier(w):
    """The manifests a run needs: of the run that it is the same as, or of those that it reads."""
    run = run_name(w)
    if PLAN.is_changed(run):  # as with --forcerun
        workflow.dag.forcefiles.add(manifest(run))
    twin = PLAN.twin(run)
    needed = [manifest(r) for r in ([twin] if twin else PLAN.needs(run))]
    if w.stage == "07_report":
        needed += [COMPARISON.format(sweep=s, scale=w.scale) + "/comparison.json" for s in PLAN.effective(run).sweeps]
    return needed


@functools.cache
def scale_plan(scale):
    found = resources.ScalePlan(PLAN, scale)
    atexit.register(lambda: workflow.dryrun and found.runs and print(f"\n{found}"))  # `snakemake -n` ends with hours, memory, disk
    return found


def asked(name):
    """A resource of a run: what a cluster is asked for."""
    return readable(lambda w: scale_plan(w.scale).ask(run_name(w))[name])


@readable
def command(w):
    """How a run is made: linked, or by executing its notebook with all of its parameters."""
    run, program = run_name(w), ["python", "-m", "blossom.batch"]  # no path of this machine, or a moved project would run again
    if twin := PLAN.twin(run):
        return shlex.join([*program, "link", *(os.path.dirname(manifest(r)) for r in (twin, run))])
    launch = resources.launch_command(w.stage, PLAN.effective(run), scale_plan(w.scale).assumed)
    # all values: a notebook may have been edited and saved in Jupyter
    values = json.dumps(asdict(PLAN.effective(run)), ensure_ascii=False)
    return shlex.join([*program, "stage", w.stage, os.path.dirname(manifest(run)), values, *launch])


rule report:
    input:
        [MANIFEST.format(root=OUTPUTS, scale="{scale}", recipe=REPORT, stage=stage) for stage in stages.READERS],
    output:
        OUTPUTS + "/{scale}/" + REPORT + ".html",
    params:
        notebook=f"{OUTPUTS}/{{scale}}/{REPORT}/07_report/notebook.ipynb",
    shell:
        "python -m blossom.report page {params.notebook:q} {output:q} > /dev/null"


rule stage:
    input:
        notebook="notebooks/{stage}.ipynb",
        earlier=earlier,
    output:
        update(MANIFEST),  # the earlier one stays until the stage has finished
    wildcard_constraints:
        stage="|".join(stage for stage in stages.STAGES if stage not in TRAINING),
    params:
        effective=lambda w: asdict(PLAN.effective(run_name(w))),
        command=command,
    resources:
        mem_mb=asked("mem_mb"),
        disk_mb=asked("disk_mb"),
        runtime=asked("runtime"),
        gpu=asked("gpu"),
    shell:
        "{params.command}"


def share_of_cores(w):
    """Cores of a training: the report's trainings of one stage run side by side, since one thread each is faster in all than
    all threads for one after the other."""
    recipes = PLAN.effective(plan.RunName(w.root, w.scale, REPORT, "07_report")).recipes
    runs = [plan.RunName(w.root, w.scale, r, s) for r, s in params.report_runs(recipes) if s == w.stage]
    return max(1, (workflow.cores or 2) // max(1, len({PLAN.key(run) for run in runs})))


# The other stages take one core each.
use rule stage as training with:
    output:
        update(MANIFEST),
    wildcard_constraints:
        stage="|".join(TRAINING),
    threads: share_of_cores
    priority: 10


onstart:
    jobs = list(workflow.dag.needrun_jobs())
    todo = [run_name(job.wildcards) for job in jobs if "stage" in job.wildcards_dict]
    found = [resources.estimate_seconds(PLAN, run) for run in todo if PLAN.twin(run) is None]
    if TERMINAL.quiet and found and all(found):
        together = max(sum(found) / (workflow.cores or 1), max(found))
        TERMINAL.say(f"Steps to run: {len(jobs)}; about {terminal.describe_seconds(together)} on this machine")


onsuccess:
    TERMINAL.live.stop()
    for job in workflow.dag.jobs if TERMINAL.quiet else ():
        if job.rule.name == "report":
            from blossom.common.runs import read_run

            folder = paths.stage_folder(OUTPUTS, job.wildcards.scale, REPORT, "07_report")
            TERMINAL.say("\n".join(["", *read_run(folder).metrics["results"], f"The report: {job.output[0]}"]))


onerror:
    # The earlier run that a failed stage leaves is recorded with the failed run's parameters: forget that, so that it runs again
    for job in workflow.dag.jobs:
        kept = paths.outputs_root(job.output[0])
        if kept.exists() and (paths.unfinished_folder(kept.parent) / "log.txt").exists():
            workflow.persistence.cleanup(job)
            os.utime(kept, (1, 1))


rule sweep:
    input:
        definition=DEFINITIONS + "/{sweep}.yaml",
        runs=lambda w: [manifest(run) for run in PLAN.sweep_runs(w.sweep, w.scale).values()],
    output:
        COMPARISON + "/comparison.json",
        COMPARISON + "/comparison.html",
    shell:
        "python -m blossom.report sweep {wildcards.sweep:q} --scale {wildcards.scale:q} --outputs {OUTPUTS:q}"
        " --definitions {DEFINITIONS:q} > /dev/null"
