"""Rows: texts, assets and the hub, instructions, reviews, benchmarks, ratings, judges, the report."""

# fmt: off
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from blossom import assets, benchmark, corpus, generation, instructions, params, paths, report
from blossom.assets.sources import HubFile, Wheel, fetch_snapshot
from blossom.instructions import drafts, merging, review, translating, translators
from blossom.preference import judges, people, prompts, ratings, statistics, verdicts
from tests.errors.table import row

TEXTS = "texts"


def lines_of(tmp_path, content, name="ko.txt"):
    """Read a text file with this content through to its end."""
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return list(corpus.read(str(tmp_path / name)))


@row(TEXTS, "a file that is not there", ValueError, "novels/ko.txt: no such asset, file or folder (looked for …)",
     "Give its path from the repository's root, or the whole path.")
def no_text():
    list(corpus.read("novels/ko.txt"))


@row(TEXTS, "a file in CP949", ValueError,
     "ko.txt, line 2: not UTF-8 (invalid start byte at byte 0). Korean files are often CP949: convert with `iconv",
     "iconv -f cp949 -t utf-8 old.txt > new.txt.")
def cp949(tmp_path):
    lines_of(tmp_path, "첫 줄\n".encode() + "둘째 줄\n".encode("cp949"))


@row(TEXTS, "a file in UTF-16", ValueError, "ko.txt, line 1: not UTF-8 (", "iconv -f utf-16 -t utf-8.")
def utf16(tmp_path):
    lines_of(tmp_path, "첫 줄\n".encode("utf-16"))


@row(TEXTS, "an empty file", ValueError, "ko.txt: holds no text", "Take it out of the list.")
def no_lines(tmp_path):
    lines_of(tmp_path, " \n\n")


@row(TEXTS, "a folder without texts", ValueError, "holds no text", "It must hold .txt, .jsonl or .tsv files.")
def no_files(tmp_path):
    list(corpus.read(str(tmp_path)))


@row(TEXTS, "a JSON line without the field `text`", ValueError,
     """ko.jsonl, line 1: expected {"text": "..."}, found '{"txt": "하나"}'""", "Rename the field.")
def no_field(tmp_path):
    lines_of(tmp_path, '{"txt": "하나"}\n', "ko.jsonl")


@row(TEXTS, "a JSON line whose text is null", ValueError,
     """ko.jsonl, line 2: expected {"text": "..."}, found '{"text": null}'""", "Take the line out.")
def null_text(tmp_path):
    lines_of(tmp_path, '{"text": "하나"}\n{"text": null}\n', "ko.jsonl")


@row(TEXTS, "a JSON line nested a hundred thousand deep", ValueError,
     """ko.jsonl, line 1: expected {"text": "..."}, found '[[[""", "Take the line out.")
def deep_json(tmp_path):
    lines_of(tmp_path, "[" * 100_000 + "\n", "ko.jsonl")


@row(TEXTS, "a text smaller than what is held out of it", ValueError,
     "korean_texts: ['…ko.txt'] hold 2 different lines; holding out 20 needs 40", "Give more text, or lower heldout_lines.")
def too_small(tmp_path, smoke):
    (tmp_path / "ko.txt").write_text("하나\n둘\n", encoding="utf-8")
    corpus.load(smoke("03_bilingual_pretraining", korean_texts=[str(tmp_path / "ko.txt")], heldout_lines=20))


@row(TEXTS, "a data set of the hub, without a network", ValueError,
     "hub:someone/texts: the hub does not give it (", "Check the network, or give a file instead.")
def offline_texts():
    list(corpus.read("hub:someone/texts"))


@row(TEXTS, "a data set without a column `text`", ValueError, "no column 'text'; it has line",
     "Save that column as a .txt file, and give the file.")
def no_column(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"line": "하나"}\n', encoding="utf-8")
    list(corpus.read(f"hub:{tmp_path / 'set'}"))


# ------------------------------------------------------------------------------------------------- assets and the hub

HUB = "downloads and the hub"


@row(HUB, "a name that is no asset, path or hub id", ValueError, "'smollm' is no asset (aligned-en-ko, …",
     "Take a name of the list, a path, or owner/name.")
def no_asset():
    assets.fetch("smollm")


@row(HUB, "a hub model, without a network", RuntimeError,
     "meta-llama/Llama-2-7b-hf could not be fetched from the hub (… Check the network; or copy the files here",
     "Check the network, or give a folder instead of the id.")
def offline():
    assets.fetch("meta-llama/Llama-2-7b-hf")


def answering(monkeypatch, status, code):
    """The hub's own client (huggingface_hub), asked of a server that refuses everything in the hub's way."""
    import huggingface_hub
    from huggingface_hub import constants

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", "no")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    address = f"http://127.0.0.1:{server.server_port}"
    real = huggingface_hub.snapshot_download
    elsewhere = {"endpoint": address, "token": False}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **words: real(repo, **elsewhere, **words))
    return server


@row(HUB, "a gated model (Llama), without access", RuntimeError,
     "meta-llama/Llama-2-13b-chat-hf is gated: ask for access on https://huggingface.co/meta-llama/Llama-2-13b-chat-hf, "
     "wait for the mail, then `hf auth login`.", "As it says.")
def gated(monkeypatch):
    server = answering(monkeypatch, 403, "GatedRepo")
    try:
        fetch_snapshot("meta-llama/Llama-2-13b-chat-hf")
    finally:
        server.shutdown()


@row(HUB, "a model that the hub does not have", RuntimeError,
     "no/such-model: the hub has no such model, or it is private (`hf auth login`).", "Correct the id, or log in.")
def no_model(monkeypatch):
    server = answering(monkeypatch, 404, "RepoNotFound")
    try:
        fetch_snapshot("no/such-model")
    finally:
        server.shutdown()


@row(HUB, "the hub answers 500", RuntimeError, "some/model could not be fetched from the hub (…500", "Try again later.")
def hub_down(monkeypatch):
    server = answering(monkeypatch, 500, "")
    try:
        fetch_snapshot("some/model")
    finally:
        server.shutdown()


@row(HUB, "one file of the hub, without a network", RuntimeError,
     "meta-llama/Llama-2-13b-chat-hf could not be fetched from the hub (", "Set BLOSSOM_ASSETS to a folder that has it.")
def offline_file():
    HubFile("meta-llama/Llama-2-13b-chat-hf", "no-such-file.model").find()


@row(HUB, "a wheel that is not the pinned one", RuntimeError,
     "pairs-1.0-py3-none-any.whl: its sha256 is …, expected 000… remove … and try again, or try another index.",
     "As it says: nothing of the file was opened.")
def other_wheel(tmp_path, monkeypatch):
    wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    Wheel("pairs", "1.0", "0" * 64).fetch(tmp_path / "downloads")


def wheel(folder):
    """A small real wheel."""
    import zipfile

    folder.mkdir()
    with zipfile.ZipFile(folder / "pairs-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("pairs/__init__.py", "")
        archive.writestr("pairs-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: pairs\nVersion: 1.0\n")
        archive.writestr("pairs-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("pairs-1.0.dist-info/RECORD", "")


@row(HUB, "a clone that lacks a file of the repository", RuntimeError,
     "data/text/gone.txt is missing: the clone is incomplete (git status; git checkout -- data/text/gone.txt)",
     "As it says.")
def incomplete():
    assets.sources.InRepository("data/text/gone.txt").find()


# ------------------------------------------------------------------------------------------------------- instructions

SETS = "instructions (04)"
GOOD = {"instruction": "질문?", "output": "답."}


def read_rows(tmp_path, *rows, name="set.jsonl"):
    """Read an instruction set of these rows."""
    text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return instructions.read(str(tmp_path / name), "ko")


@row(SETS, "a field is missing", ValueError,
     "set.jsonl, line 2: no field 'output' (nor messages, nor conversations); it has instruction", "Mend that line.")
def no_output(tmp_path):
    read_rows(tmp_path, GOOD, {"instruction": "질문?"})


@row(SETS, "an empty answer", ValueError,
     "line 1: message 2, the assistant's, is empty: there is nothing to learn; remove the row", "Remove the row.")
def empty_output(tmp_path):
    read_rows(tmp_path, GOOD | {"output": " \n"})


@row(SETS, "roles out of order", ValueError,
     "line 1: roles out of order: expected user and assistant in turn, the user first, found …", "Mend that line.")
def bad_roles(tmp_path):
    turns = [{"role": "user", "content": "가"}, {"role": "user", "content": "나"}, {"role": "assistant", "content": "다"}]
    read_rows(tmp_path, {"messages": turns})


@row(SETS, "a number where text is meant", ValueError,
     "line 1: expected text in every field, found int '3'", "Quote it.")
def number_as_text(tmp_path):
    read_rows(tmp_path, GOOD | {"instruction": 3})


@row(SETS, "a line that is no JSON", ValueError, "set.jsonl, line 1: not valid JSON (", "Mend that line.")
def no_json(tmp_path):
    (tmp_path / "set.jsonl").write_text("{oops\n")
    instructions.read(str(tmp_path / "set.jsonl"), "ko")


@row(SETS, "a spreadsheet instead of JSON", ValueError,
     "set.csv: expected a .json or .jsonl file of instructions", "Save it as .jsonl.")
def csv_file(tmp_path):
    (tmp_path / "set.csv").write_text("instruction,output\n")
    instructions.read(str(tmp_path / "set.csv"), "ko")


@row(SETS, "two rows with one id", ValueError, "line 2: id 'x' is also that of …line 1", "Give each row its own.")
def same_id(tmp_path):
    (tmp_path / "set.jsonl").write_text((json.dumps(GOOD | {"id": "x"}) + "\n") * 2)
    instructions.read_all([str(tmp_path / "set.jsonl")], "ko")


@row(SETS, "too few examples to hold some out", ValueError,
     "ko: 1 examples are left; holding out 12 leaves none to train on", "Give more, or lower heldout_examples.")
def too_few(tmp_path):
    instructions.hold_out(read_rows(tmp_path, GOOD), 12)


@row(SETS, "aligned text without its second column", ValueError,
     "pairs.tsv, line 1: expected English TAB Korean, found 'Turn on'", "Mend that line.")
def no_tab(tmp_path):
    (tmp_path / "pairs.tsv").write_text("Turn on\n")
    instructions.translations([str(tmp_path / "pairs.tsv")])


# ------------------------------------------------------------------------------------- translating and reviewing

REVIEW = "translation and review (04)"


@row(REVIEW, "a reviewer's file of another data set", ValueError,
     "민지.json: made for another dataset (000000000000; these drafts are …); merge it with the drafts its page…",
     "As it says.")
def other_dataset(six, exported):
    merging.read(exported("민지", {}, top={"dataset": "0" * 64}), six)


@row(REVIEW, "a file that the page did not write", ValueError,
     "mine.json: expected a file exported by the review page (", "Ask the reviewer to press Export.")
def no_export(six, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    merging.read(tmp_path / "mine.json", six)


@row(REVIEW, "two reviewers finished one row differently", ValueError,
     "1 conflicts are unsettled (first: …); choose a policy, or settle them on adjudication_page", "As it says.")
def conflict(six, exported, tmp_path):
    files = [exported(who, {six[0].id: {"fields": {"output": who}}}) for who in ("민지", "서준")]
    merging.write(merging.merge(six, files), tmp_path / "set.jsonl")


@row(REVIEW, "nothing is marked as done", ValueError, "no row is marked as done: nothing to write",
     "Wait for the reviewers.")
def nothing_done(six, exported, tmp_path):
    merging.write(merging.merge(six, [exported("민지", {})]), tmp_path / "set.jsonl")


@row(REVIEW, "half a character in a draft", ValueError, "draft …: a broken character at … 반쪽 '", "Mend the draft.")
def half_character(six):
    from dataclasses import replace

    review.digest([replace(six[0], korean=six[0].korean | {"output": "반쪽 \ud83d"})])


@row(REVIEW, "no translation server at that address", RuntimeError,
     "stopped after 0 of 2 requests; their replies are in …replies.jsonl, the next call continues there. …Connection error",
     "Start the server, and run again: what was replied is kept.")
def no_translator(tmp_path):
    server = translators.Server("tiny", "http://127.0.0.1:9/v1", key="sk-secret", retries=0, timeout=2, parallel=1)
    translating.translate(read_rows(tmp_path, GOOD), server, tmp_path / "replies.jsonl", requests=9)


@row(REVIEW, "stored replies edited by hand", ValueError,
     "replies.jsonl, line 1: no stored reply (no reply); move the file away or mend it", "As it says.")
def edited_replies(tmp_path):
    (tmp_path / "replies.jsonl").write_text('{"x": 1}\n{"x": 2}\n')
    translating.Replies(tmp_path / "replies.jsonl")


@row(REVIEW, "a broken line among the drafts", ValueError, "drafts.jsonl, line 1: no draft (", "Make the drafts again.")
def broken_draft(tmp_path):
    (tmp_path / "drafts.jsonl").write_text('{"id": 1}\n')
    drafts.read(tmp_path / "drafts.jsonl")


# --------------------------------------------------------------------------------------------------------- benchmarks

TASKS = "benchmarks (05)"
NLI = {"premise": "비가 온다.", "hypothesis": "땅이 젖는다.", "gold_label": "entailment"}


def read_nli(tmp_path, records):
    """Read klue_nli from a folder with this one file."""
    (tmp_path / "klue_nli.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return benchmark.read("klue_nli", tmp_path)


@row(TASKS, "a task that does not exist", ValueError, "tasks: no task is called 'klue_nly'; there are …",
     "Take one of those.")
def no_task(tmp_path):
    benchmark.prepare(["klue_nly"], tmp_path)


@row(TASKS, "a folder that does not exist", ValueError,
     "benchmarks: expected 'authored', 'hub' or a folder, found …, which is no folder", "Correct the path.")
def no_folder(tmp_path):
    benchmark.read("klue_nli", tmp_path / "nowhere")


@row(TASKS, "a folder without the task's file", ValueError,
     "no file of klue_nli; looked for klue_nli.json, **/*nli*dev*.json", "Put the file there under one of these names.")
def no_task_file(tmp_path):
    benchmark.read("klue_nli", tmp_path)


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
    benchmark.prepare(["klue_sts"], tmp_path, shots=2)


@row(TASKS, "the public sets, without a network", ValueError,
     "benchmarks: hub: klue/klue could not be had (… Without a network, set benchmarks to 'authored' or to a folder",
     "As it says.")
def offline_tasks():
    benchmark.read("klue_nli", "hub")


@row(TASKS, "a model to compare with that is not there", ValueError, "'nowhere' is no asset (", "Correct `beside`.")
def no_comparator(smoke):
    benchmark.resolve(smoke("05_benchmark_eval", "base"), ["nowhere"])


# --------------------------------------------------------------------------------------------------------- preference

RATINGS = "preference (06)"


def a_batch():
    """A batch of two models' answers to two prompts, for one rater."""
    rows = [{"model": m, "prompt_id": f"p{n}", "kind": "code", "language": "ko", "prompt": "질문", "answer": f"{m} 답"}
            for m in ("one", "two") for n in range(2)]
    return people.make_batch(rows, raters=["가람"], repeats=0)


def exported_ratings(made, **changed):
    """A rater's file, changed after its export."""
    given = [{"id": i.id, "choice": "A", "seconds": 5, "at": "2026-01-02T03:04:05.678Z"} for i in people.items(made, "가람")]
    content = {"format": people.FORMAT, "batch": made.digest, "rater": "가람", "verdicts": given}
    return content | {"checksum": ratings.checksum(made.digest, "가람", given)} | changed


def merged(tmp_path, content):
    """Why the file with this content is refused."""
    (tmp_path / "가람.json").write_text(json.dumps(content), encoding="utf-8")
    got = ratings.merge(a_batch(), [tmp_path / "가람.json"])
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
    people.save(a_batch(), tmp_path / "batch.json")
    text = (tmp_path / "batch.json").read_text(encoding="utf-8")
    (tmp_path / "batch.json").write_text(text.replace("one 답", "other 답"), encoding="utf-8")
    people.load(tmp_path / "batch.json")


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
    prompts.read(str(tmp_path / "prompts.jsonl"), 2)


@row(RATINGS, "models that were never compared", ValueError,
     "these models were never compared, not even through others: p, q | x, y", "Compare them, or rank them apart.")
def apart():
    pair = {"prompt_id": "1", "kind": "k", "language": "ko", "winner": "a", "rater": "r", "first_shown": "a", "look": 1}
    statistics.strengths(verdicts.table([pair | {"model_a": a, "model_b": b} for a, b in (("p", "q"), ("x", "y"))]))


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
    generation.server.addresses(["mine@http://here/v1"], ["base"])


# ------------------------------------------------------------------------------------------------------------- report

REPORT = "report (07)"


@row(REPORT, "a run's metrics edited by hand", ValueError,
     "metrics.json was changed after its run (its sha256 is not the manifest's): run it again",
     "Delete the manifest, and run.")
def edited_metrics(tmp_path, smoke, monkeypatch):
    p = smoke("07_report", "report", recipes=["only"])
    (tmp_path / "only.yaml").write_text("stages: [05_benchmark_eval]\n")
    monkeypatch.setattr(params, "recipe_file", lambda name: tmp_path / f"{name}.yaml")
    run = paths.Run(params.build(params.BenchmarkEval, {"scale": "smoke", "recipe": "only", "outputs": p.outputs}),
                    "05_benchmark_eval")
    run.finish({"average": 0.5})
    (run.folder / "metrics.json").write_text('{"average": 0.9}')
    report.load(p)


@row(REPORT, "a number that is not finite among the metrics", ValueError,
     "Out of range float values are not JSON compliant", "Look at the step that made it: nothing was written.")
def not_finite(smoke):
    paths.Run(smoke("07_report", "report"), "07_report").finish({"loss": float("nan")})


@row(REPORT, "a broken metrics file", ValueError, "metrics.json: not valid JSON (",
     "Delete the run's manifest.json, and run.")
def broken_json(tmp_path):
    (tmp_path / "metrics.json").write_text("{")
    paths.read_json(tmp_path / "metrics.json")
