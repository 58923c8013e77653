"""Our suite's answers to some tasks: scores, items and the seconds that answering took."""

import json
import sys
from pathlib import Path

import evaluated
import lm_eval
from answering import Clock

from blossom.benchmark import scoring
from blossom.benchmark.evaluation import read_evaluation
from blossom.models.loading import load_model, pick_dtype

asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
model, tokenizer = load_model(asked["model"], pick_dtype(asked["precision"]))
clock, result = Clock(scoring.SharedPrefixLM), []
lm = scoring.SharedPrefixLM(model, tokenizer)
for run in asked["runs"]:
    task = evaluated.prepare(run["task"], Path(asked["folder"]) / run["task"], run["items"])
    lm.read = lm.lm_evals = 0
    clock.start()
    found = lm_eval.evaluate(lm, {"tasks": {task.name: task.task}}, bootstrap_iters=0)
    score, items = read_evaluation(task, found, lm)
    score |= {"tokens": lm.read, "lm_eval_tokens": lm.lm_evals}
    result.append({"score": score, "items": items, "wall": clock.wall, "cpu": clock.cpu})
Path(asked["result"]).write_text(json.dumps(result))
