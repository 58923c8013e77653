"""Our suite's answers to some tasks: scores, items and the seconds that answering took."""

import json
import sys
from pathlib import Path

import evaluated
from answering import Clock

from blossom.benchmark import scoring
from blossom.benchmark.evaluation import evaluate_task
from blossom.models.loading import load_model, pick_dtype

asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
model, tokenizer = load_model(asked["model"], pick_dtype(asked["precision"]))
clock, result = Clock(scoring.SharedPrefixLM), []
lm = scoring.SharedPrefixLM(model, tokenizer)
for run in asked["runs"]:
    task = evaluated.prepare(run["task"], Path(asked["folder"]) / run["task"], run["items"])
    clock.start()
    result.append(evaluate_task(task, lm) | {"wall": clock.wall, "cpu": clock.cpu})
Path(asked["result"]).write_text(json.dumps(result))
