"""python -m blossom.batch: what Snakemake starts, `stage` (a notebook, run to its end) or `link` (see `link_run`)."""

import json
import os
import subprocess
import sys
import time

from blossom.batch.plan import link_run
from blossom.common import paths, shell


def execute_stage(stage, home, values, *launch):
    """Run a stage's notebook and publish what it wrote in the folder `home`; all that is printed goes to log.txt there.

    values  all of the notebook's parameters, in JSON
    launch  words of a command that trains on several cards before the notebook runs
    Returns the exit code. After a failure the log, whose last line is the error, is in `unfinished_folder`(home).
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema imports it, for a format that notebooks lack: two seconds
    from papermill import PapermillExecutionError, execute_notebook

    home = paths.outputs_root(home)
    folder, values = paths.unfinished_folder(home), json.loads(values)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["BLOSSOM_BATCH"] = "1"
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        for stream in (1, 2):  # of this process and those that it starts, so that the kernel's warnings are in the log too
            os.dup2(log.fileno(), stream)
        print(time.strftime("%Y-%m-%d %H:%M:%S"), stage, flush=True)
        try:
            if launch and (code := subprocess.run(launch, cwd=paths.ROOT).returncode):
                raise RuntimeError(f"the training on several cards ended with code {code}: the log says why, above")
            written = str(folder / "notebook.ipynb").replace("{", "{{").replace("}", "}}")  # papermill fills in {name}
            options = {"progress_bar": False, "stdout_file": log, "stderr_file": log, "cwd": paths.ROOT}
            options["start_timeout"] = 600  # seconds for a kernel to start; the default, 60, is too short on a busy machine
            # a fifth of the time of imports; `load_model` ends it
            options["extra_arguments"] = ["--IPKernelApp.exec_lines=__import__('gc').disable()"]
            execute_notebook(paths.ROOT / f"notebooks/{stage}.ipynb", written, values, **options)
            if not (folder / "manifest.json").exists():
                raise RuntimeError(f"notebooks/{stage}.ipynb ended without `run.finish`")
        except Exception as error:
            told = type(error).__name__, str(error)
            if isinstance(error, PapermillExecutionError):
                print(error)
                told = error.ename, error.evalue
            print(f"{told[0]}: {' '.join(told[1].split())}")
            return 1
    paths.replace_path(folder, home)
    return 0


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    shell.run(lambda: execute_stage(*words) if command == "stage" else link_run(*map(paths.outputs_root, words)))
