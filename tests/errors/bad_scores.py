"""Rows: benchmarks, ratings, judges, the report."""

# fmt: off
import json

from blossom.benchmark.data import read_task_rows
from blossom.benchmark.several import find_models
from blossom.benchmark.suite import prepare_tasks
from blossom.common import params, paths, runs, stages
from blossom.generation.answers import parse_addresses
from blossom.preference import judges, people, prompts, ratings, statistics, verdicts
from tests.errors.table import row

TASKS = "benchmarks (05)"
NLI = {"premise": "비가 온다.", "hypothesis": "땅이 젖는다.", "gold_label": "entailment"}


def read_nli(tmp_path, records):
    """Read klue_nli from a folder with this one file."""
    (tmp_path / "klue_nli.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return read_task_rows("klue_nli", tmp_path)


@row(TASKS, "a task that does not exist", ValueError, "tasks: no task is called 'klue_nly'; there are …",
     "Take one of those.")
def no_task(tmp_path):
    prepare_tasks(["klue_nly"], tmp_path)


@row(TASKS, "a folder that does not exist", ValueError,
     "benchmarks: expected 'authored', 'hub' or a folder, found …, which is no folder", "Correct the path.")
def no_folder(tmp_path):
    read_task_rows("klue_nli", tmp_path / "nowhere")


@row(TASKS, "a folder without the task's file", ValueError,
     "no file of klue_nli; looked for klue_nli.json, **/*nli*dev*.json", "Put the file there under one of these names.")
def no_task_file(tmp_path):
    read_task_rows("klue_nli", tmp_path)


@row(TASKS, "a column under another name", ValueError,
     "klue_nli.json, item 1: klue_nli: no column hypothesis; it has premise, hypo", "Rename the column.")
def other_column(tmp_path):
    read_nli(tmp_path, [{"premise": "가", "hypo": "나", "gold_label": "neutral"}])


@row(TASKS, "an unknown label", ValueError,
     "item 2: klue_nli: gold_label: expected one of 0, 1, 2, entailment, neutral, contradiction, found '무관'",
     "Mend that row.")
def other_label(tmp_path):
    read_nli(tmp_path, [NLI, NLI | {"gold_label": "무관"}])


@row(TASKS, "an empty split", ValueError, "klue_nli.json: klue_nli: no rows", "Take another file, or leave the task out.")
def no_rows(tmp_path):
    read_nli(tmp_path, [])


@row(TASKS, "examples in the prompt, but no training file", ValueError,
     "no training file (shots needs one) of klue_sts", "Set shots to 0, or add the training file.")
def no_shots(tmp_path):
    prepare_tasks(["klue_sts"], tmp_path, shots=2)


@row(TASKS, "the public sets, without a network", ValueError,
     "benchmarks: hub: klue/klue could not be had (… Without a network, set benchmarks to 'authored' or to a folder",
     "As it says.")
def offline_tasks():
    read_task_rows("klue_nli", "hub")


@row(TASKS, "a model to compare with that is not there", ValueError, "'nowhere' is no asset (", "Correct `beside`.")
def no_comparator(smoke):
    find_models(smoke("05_benchmark_eval", "base"), ["nowhere"])


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


@row(RATINGS, "a rater's file edited by hand", "counted",
     "refused: its checksum does not fit its 2 verdicts: edited by hand, or damaged on the way", "Ask for the file again.")
def edited_ratings(tmp_path):
    content = exported_ratings(a_batch())
    content["verdicts"][0]["choice"] = "B"
    return merged(tmp_path, content)


@row(RATINGS, "a rater's file of another batch", "counted",
     "refused: of another batch: 000, this one is …", "Merge it with the batch.json of its page.")
def other_batch(tmp_path):
    return merged(tmp_path, exported_ratings(a_batch(), batch="000"))


@row(RATINGS, "a file of somebody who is no rater", "counted",
     "refused: rater '모름' is not in this batch: 가람", "Add the name to raters, and make the pages again.")
def stranger(tmp_path):
    return merged(tmp_path, exported_ratings(a_batch(), rater="모름"))


@row(RATINGS, "a batch file edited by hand", ValueError,
     "batch.json: changed after it was made (its digest is …, written …)", "Run the notebook again: it writes the batch.")
def edited_batch(tmp_path):
    path = people.publish_batch(a_batch(), tmp_path)[1][0].parent / "batch.json"
    path.write_text(path.read_text(encoding="utf-8").replace("one 답", "other 답"), encoding="utf-8")
    people.load_batch(path)


@row(RATINGS, "a model that answered fewer prompts", ValueError, "answers: two has no answer to prompt p0 (ko)",
     "Let it answer all of them.")
def fewer_answers():
    rows = [{"model": m, "prompt_id": f"p{n}", "kind": "code", "language": "ko", "prompt": "질문", "answer": "답"}
            for m, n in (("one", 0), ("one", 1), ("two", 1))]
    people.make_batch(rows, raters=["가람"])


@row(RATINGS, "two raters of one name", ValueError, "raters: expected different names, found 가람, 가람", "Tell them apart.")
def same_rater():
    batch = a_batch()
    rows = [dict(model=m, prompt_id="p", kind="k", language="ko", prompt="질문", answer="답") for m in ("one", "two")]
    people.make_batch(rows, raters=[*batch.raters, "가람"])


@row(RATINGS, "prompts without text", ValueError,
     "prompts.jsonl, line 1: ko: expected a prompt's text, found 3", "Mend that line.")
def no_prompt(tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"id": "a", "ko": 3}\n')
    prompts.read_prompts(str(tmp_path / "prompts.jsonl"), 2)


@row(RATINGS, "models that were never compared", ValueError,
     "these models were never compared, not even through others: p, q | x, y", "Compare them, or rank them apart.")
def apart():
    pair = {"prompt_id": "1", "kind": "k", "language": "ko", "winner": "a", "rater": "r", "first_shown": "a", "look": 1}
    rows = [pair | {"model_a": a, "model_b": b} for a, b in (("p", "q"), ("x", "y"))]
    statistics.rank_models(verdicts.make_verdicts(rows))


@row(RATINGS, "a judge's address without http", ValueError,
     "judge_url, judge_model: expected http://… or https://…, found 'localhost:8000'", "Write http://localhost:8000/v1.")
def no_address(tmp_path):
    judges.Judge("localhost:8000", "referee", tmp_path)


@row(RATINGS, "a judge whose server is not there", RuntimeError,
     "judge_url, judge_model: name the model to ask http://127.0.0.1:9/v1 for; what it serves: not known; "
     "is the server there?",
     "Start the server, or name the model.")
def no_judge(tmp_path):
    judges.Judge("http://127.0.0.1:9/v1", "", tmp_path)


@row(RATINGS, "a served model that is none of the run", ValueError,
     "served: expected name@http://…, a name of base; found 'mine@http://here/v1'", "Use the names of compare_with.")
def not_served():
    parse_addresses(["mine@http://here/v1"], ["base"])


# ------------------------------------------------------------------------------------------------------------- report

REPORT = "report (07)"


@row(REPORT, "a run's metrics edited by hand", ValueError,
     "metrics.json was changed after its run (its SHA-256 is not the manifest's): put it back, "
     "or delete …manifest.json and run the stage again",
     "Delete the manifest, and run.")
def edited_metrics(tmp_path, smoke, monkeypatch):
    p = smoke("07_report", "report", recipes=["only"])
    (tmp_path / "only.yaml").write_text("stages: [05_benchmark_eval]\n")
    monkeypatch.setattr(params, "recipe_file", lambda name: tmp_path / f"{name}.yaml")
    run = runs.Run(params.build_params(stages.BenchmarkEval, {"scale": "smoke", "recipe": "only", "outputs": p.outputs}),
                    "05_benchmark_eval")
    run.finish({"average": 0.5})
    (run.folder / "metrics.json").write_text('{"average": 0.9}')
    runs.read_runs(p.outputs, p.scale, p.recipes)


@row(REPORT, "a manifest that is none", ValueError,
     "manifest.json: lists no outputs: delete it and run the stage again", "As it says.")
def no_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text("[]")
    runs.read_run(tmp_path)


@row(REPORT, "a number that is not finite among the metrics", ValueError,
     "Out of range float values are not JSON compliant", "Look at the step that made it: nothing was written.")
def not_finite(smoke):
    runs.Run(smoke("07_report", "report"), "07_report").finish({"loss": float("nan")})


@row(REPORT, "a broken metrics file", ValueError, "metrics.json: not valid JSON (",
     "Delete the run's manifest.json, and run.")
def broken_json(tmp_path):
    (tmp_path / "metrics.json").write_text("{")
    paths.read_json(tmp_path / "metrics.json")
