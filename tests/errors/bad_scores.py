"""Rows: benchmarks, ratings, judges, the report."""

# fmt: off
import json

from blossom.benchmark.evaluation import find_models
from blossom.benchmark.rows import read_task_rows
from blossom.benchmark.suite import prepare_tasks
from blossom.common import params, paths, runs, stages
from blossom.generation.answers import parse_addresses
from blossom.preference import judges, people, prompts, ratings
from tests.errors.table import case, file_case

TASKS = "benchmarks (05)"
NLI = {"premise": "비가 온다.", "hypothesis": "땅이 젖는다.", "gold_label": "entailment"}


def read_nli(tmp_path, records):
    """Read klue_nli from a folder with this one file."""
    (tmp_path / "klue_nli.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return read_task_rows("klue_nli", tmp_path)
case(TASKS, "a task that does not exist", ValueError, "tasks", "'klue_nly'")(
    lambda tmp_path: prepare_tasks(["klue_nly"], tmp_path))
case(TASKS, "a folder that does not exist", ValueError, "benchmarks", "expected 'authored'", "'hub'")(
    lambda tmp_path: read_task_rows("klue_nli", tmp_path / "nowhere"))
case(TASKS, "a folder without the task's file", ValueError, "no file of klue_nli", "klue_nli.json")(
    lambda tmp_path: read_task_rows("klue_nli", tmp_path))
case(TASKS, "a column under another name", ValueError, "klue_nli.json, row 1", "hypothesis")(
    lambda tmp_path: read_nli(tmp_path, [{"premise": "가", "hypo": "나", "gold_label": "neutral"}]))
case(TASKS, "an unknown label", ValueError, "row 2", "klue_nli", "label", "무관")(
    lambda tmp_path: read_nli(tmp_path, [NLI, NLI | {"gold_label": "무관"}]))
case(TASKS, "an empty split", ValueError, "klue_nli.json")(lambda tmp_path: read_nli(tmp_path, []))
case(TASKS, "examples in the prompt, but no training file", ValueError, "klue_sts")(
    lambda tmp_path: prepare_tasks(["klue_sts"], tmp_path, shots=2))
case(TASKS, "the public sets, without a network", ValueError, "klue/klue", "'authored'")(
    lambda: read_task_rows("klue_nli", "hub"))
case(TASKS, "a model to compare with that is not there", ValueError, "'nowhere'")(
    lambda smoke: find_models(smoke("05_benchmark_eval", "base"), ["nowhere"]))


# --------------------------------------------------------------------------------------------------------- preference

RATINGS = "preference (06)"


def a_batch():
    """A batch of two models' answers to two prompts, for one rater."""
    rows = [{"model": m, "prompt_id": f"p{n}", "kind": "code", "language": "ko", "prompt": "질문", "answer": f"{m} 답"}
            for m in ("one", "two") for n in range(2)]
    return people.make_batch(rows, raters=["가람"], repeats=0)


def exported_ratings(made, **changed):
    """A rater's file, changed after its export."""
    said = {"choice": "A", "seconds": 5, "at": "2026-01-02T03:04:05.678Z"}
    given = [{"id": i.id} | said for i in people.list_items(made, "가람")]
    content = {"format": people.FORMAT, "batch": made.digest, "rater": "가람", "verdicts": given}
    return content | {"checksum": ratings.checksum_ratings(made.digest, "가람", given)} | changed


def merged(tmp_path, content):
    """Why the file with this content is refused."""
    (tmp_path / "가람.json").write_text(json.dumps(content), encoding="utf-8")
    got = ratings.merge_ratings(a_batch(), [tmp_path / "가람.json"])
    assert not len(got.verdicts)
    return f"{got.files.status[0]}: {got.files.why[0]}"

@case(RATINGS, "a rater's file edited by hand", None, "refused")
def edited_ratings(tmp_path):
    content = exported_ratings(a_batch())
    content["verdicts"][0]["choice"] = "B"
    return merged(tmp_path, content)

case(RATINGS, "a rater's file of another batch", None, "refused", "000")(
    lambda tmp_path: merged(tmp_path, exported_ratings(a_batch(), batch="000")))
case(RATINGS, "a file of somebody who is no rater", None, "refused", "'모름'")(
    lambda tmp_path: merged(tmp_path, exported_ratings(a_batch(), rater="모름")))

@case(RATINGS, "a model that answered fewer prompts", ValueError, "answers")
def fewer_answers():
    rows = [{"model": m, "prompt_id": f"p{n}", "kind": "code", "language": "ko", "prompt": "질문", "answer": "답"}
            for m, n in (("one", 0), ("one", 1), ("two", 1))]
    people.make_batch(rows, raters=["가람"])

@case(RATINGS, "two raters of one name", ValueError, "raters", "expected different names", "'가람', '가람'")
def same_rater():
    batch = a_batch()
    rows = [dict(model=m, prompt_id="p", kind="k", language="ko", prompt="질문", answer="답") for m in ("one", "two")]
    people.make_batch(rows, raters=[*batch.raters, "가람"])

file_case(RATINGS, "prompts without text", lambda file: prompts.read_prompts(str(file), 2), "prompts.jsonl",
          [{"id": "a", "ko": 3}], "prompts.jsonl, line 1", "expected a prompt's text", "found 3")

case(RATINGS, "a judge's address without http", ValueError, "judge_url", "judge_model", "expected http", "found 'localhost")(
    lambda tmp_path: judges.Judge("localhost:8000", "referee", tmp_path))
case(RATINGS, "a judge whose server is not there", RuntimeError, "judge_url", "127.0.0.1")(
    lambda tmp_path: judges.Judge("http://127.0.0.1:9/v1", "", tmp_path))
case(RATINGS, "a served model that is none of the run", ValueError, "served", "expected name@http", "'mine@http://here/v1'")(
    lambda: parse_addresses(["mine@http://here/v1"], ["base"]))


# ------------------------------------------------------------------------------------------------------------- report

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

case(REPORT, "a number that is not finite among the metrics", ValueError, "not JSON compliant")(
    lambda smoke: runs.Run(smoke("07_report", "report"), "07_report").finish({"loss": float("nan")}))

file_case(REPORT, "a broken metrics file", paths.read_json, "metrics.json", "{", "metrics.json", "not valid JSON")
