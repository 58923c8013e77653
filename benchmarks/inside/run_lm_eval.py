"""lm-eval's answers to the same tasks, by its command line, called in this process so that a clock can stand in it.

Two things that no answer depends on are left out: reading the list of all shipped tasks, and bootstrapped standard errors.
"""

import functools
import json
import sys
from pathlib import Path

import lm_eval
import lm_eval.tasks
from answering import Clock
from lm_eval.__main__ import cli_evaluate
from lm_eval.models.huggingface import HFLM

asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
lm_eval.simple_evaluate = functools.partial(lm_eval.simple_evaluate, bootstrap_iters=0)
lm_eval.tasks.TaskManager = functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)
clock, result = Clock(HFLM), []
for number, run in enumerate(asked["runs"]):
    task, out = run["task"], Path(asked["folder"]) / f"out-{number}"
    command = ["lm_eval", "run", "--model", "hf", "--device", asked["device"], "--tasks", task]
    model = [f"pretrained={asked['model']}", f"dtype={asked['precision']}", f"prefix_token_id={asked['start']}"]
    command += ["--model_args", ",".join(model), "--include_path", run["folder"], "--batch_size", str(run["batch"])]
    sys.argv = [*command, "--log_samples", "--output_path", str(out)]
    clock.start()
    cli_evaluate()
    (totals,), (samples,) = out.rglob("results_*.json"), out.rglob(f"samples_{task}_*.jsonl")
    scores = json.loads(totals.read_text(encoding="utf-8"))["results"][task]
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").split("\n") if line]
    items = []
    for row in sorted(rows, key=lambda row: row["doc_id"]):
        answers = row["filtered_resps"]
        written = isinstance(answers[0], str)
        own = {"answer": answers[0]} if written else {"loglikelihoods": [float(a[0]) for a in answers]}
        items.append(own | {m: row[m] for m in row["metrics"] if isinstance(row[m], (int, float))})
    result.append({"scores": scores, "items": items, "wall": clock.wall, "cpu": clock.cpu})
Path(asked["result"]).write_text(json.dumps(result))
