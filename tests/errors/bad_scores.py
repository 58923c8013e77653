"""Rows: benchmarks, ratings, judges, the report."""

# fmt: off
import json

from blossom.benchmark.rows import read_task_rows
from blossom.benchmark.suite import prepare_tasks
from blossom.common import params, paths, runs, stages
from tests.errors.table import case, file_case

TASKS = "benchmarks (05)"
NLI = {"premise": "비가 온다.", "hypothesis": "땅이 젖는다.", "gold_label": "entailment"}


def read_nli(tmp_path, records):
    (tmp_path / "klue_nli.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return read_task_rows("klue_nli", tmp_path)
case(TASKS, "a task that does not exist", ValueError, "tasks", "'klue_nly'")(
    lambda tmp_path: prepare_tasks(["klue_nly"], tmp_path))
case(TASKS, "a folder that does not exist", ValueError, "benchmarks", "expected 'authored'", "'hub'")(
    lambda tmp_path: read_task_rows("klue_nli", tmp_path / "nowhere"))
case(TASKS, "a folder without the task's file", ValueError, "no file of klue_nli", "klue_nli.json")(
    lambda tmp_path: read_task_rows("klue_nli", tmp_path))
case(TASKS, "an unknown label", ValueError, "row 2", "klue_nli", "label", "무관")(
    lambda tmp_path: read_nli(tmp_path, [NLI, NLI | {"gold_label": "무관"}]))
case(TASKS, "an empty split", ValueError, "klue_nli.json")(lambda tmp_path: read_nli(tmp_path, []))
case(TASKS, "examples in the prompt, but no training file", ValueError, "klue_sts")(
    lambda tmp_path: prepare_tasks(["klue_sts"], tmp_path, shots=2))



REPORT = "report (07)"

@case(REPORT, "a run's metrics edited by hand", ValueError, "metrics.json", "manifest.json")
def edited_metrics(tmp_path, smoke, monkeypatch):
    p = smoke("07_report", "report", recipes=["only"])
    (tmp_path / "only.yaml").write_text("stages: [05_benchmark_eval]\n")
    monkeypatch.setattr(params, "recipe_file", lambda name: tmp_path / f"{name}.yaml")
    run = runs.Run(params.build_params(stages.BenchmarkEval, {"scale": "smoke", "recipe": "only", "outputs": p.outputs}),
                    "05_benchmark_eval")
    run.finish({"average": 0.5})
    (run.folder / "metrics.json").write_text('{"average": 0.9}')
    runs.read_runs(p.outputs, p.scale, p.recipes)

file_case(REPORT, "a manifest that is none", lambda file: runs.read_run(file.parent), "manifest.json", "[]", "manifest.json",
          "outputs")

file_case(REPORT, "a broken metrics file", paths.read_json, "metrics.json", "{", "metrics.json", "not valid JSON")
