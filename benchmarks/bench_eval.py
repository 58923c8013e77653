"""Benchmark scores beside lm-eval's command line: `python benchmarks/bench_eval.py` prints two tables or more.

equality  the same rows of the real files in BLOSSOM_ASSETS, scored by our suite and by `lm_eval run`: scores, items that are
          answered otherwise, the greatest difference of a log-likelihood
time      the seconds that answering took on a slice of them, lm-eval's at its best batch size

Both sides have the same weights in the same precision. Seconds are those in lm-eval's calls for answers (tokenizing, forward
passes): starting, loading the model and reading rows are left out on both sides. A finished task is kept in
results/eval/ until the rows, the prompt, the weights or our scoring change, so that an interrupted run goes on where it was.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import common
import numpy as np
import torch
from common import HERE, OURS, Failed, measure, median

from blossom.assets.registry import fetch_asset
from blossom.benchmark.evaluation import VERSION
from blossom.benchmark.suite import GROUPS, PAPER_TASKS
from blossom.common import paths
from blossom.models.bits import start_token
from blossom.models.loading import pick_device
from blossom.vocabulary.loading import load_tokenizer

sys.path.append(str(HERE / "inside"))
import evaluated

KEPT = HERE / "results" / "eval"
TASKS = [*PAPER_TASKS, "kobest_copa_shipped", "hellaswag_en", "copa_en", "minimal_pairs_ko", "nsmc", *GROUPS["translation"]]
BATCH = 8  # lm-eval's for equality
TOLERANCE = 2e-3  # nats; float32 sums of up to some hundred log-probabilities, added in another order
KINDS = ("choices share a context", "choices without a context", "written answers")


def kind(p):
    """Which of KINDS a prepared task is of."""
    return KINDS[2] if p.generates else KINDS[0] if p.prompt[0][0] else KINDS[1]


def conditions(p, arguments):
    """What a kept result depends on."""
    code = (paths.ROOT / "blossom" / "benchmark" / "scoring.py").read_bytes()
    return {
        "rows and prompt": p.digest,
        "items": len(p.rows),
        "weights": arguments.weights,
        "precision": arguments.precision,
        "scoring": hashlib.sha256(code).hexdigest()[:16],
        "versions": f"{VERSION}, torch {torch.__version__}",
    }


def our_runs(tasks, arguments):
    """Our suite's runs of prepared tasks, all in one process."""
    runs = [{"task": p.name, "items": len(p.rows)} for p in tasks]
    asked = {"model": arguments.model, "precision": arguments.precision, "runs": runs}
    return measure(OURS, "run_eval.py", asked, arguments.prefix)


def lm_eval_runs(tasks, arguments):
    """lm-eval's runs of (prepared task, batch size) pairs, all in one process."""
    runs = [{"task": p.name, "folder": str(arguments.folder / p.name), "batch": batch} for p, batch in tasks]
    asked = {"model": arguments.model, "precision": arguments.precision, "runs": runs}
    asked |= {"start": arguments.start, "device": pick_device().type}
    return measure(OURS, "run_lm_eval.py", asked, arguments.prefix)


def equality(p, arguments):
    """Both sides' answers to one task, run once or kept; None: not run and not asked for; a str says why there are none."""
    file, now = KEPT / f"{p.name}.json", conditions(p, arguments)
    known = paths.read_json(file) if file.exists() else {}
    if known.get("conditions") == now:
        return known
    if "equality" not in arguments.parts:
        return None
    print(f"  {p.name}: {len(p.rows)} items ...", file=sys.stderr, flush=True)
    try:
        (own,) = our_runs([p], arguments)
        (theirs,) = lm_eval_runs([(p, BATCH)], arguments)
    except Failed as error:
        return str(error)
    known = {"conditions": now, "ours": own, "lm-eval": theirs}
    paths.write_json(file, known)
    return known


def compared(p, found):
    """The equality table's row of one task."""
    row = {"task": p.name, "items": len(p.rows), "metric": p.settings["score"]}
    columns = ["ours", "lm-eval", "metrics that differ", "answered otherwise", "greatest difference, nats"]
    row |= dict.fromkeys([*columns, "ours, CPU s", "lm-eval, CPU s", "fewer CPU s", "note"])
    if not isinstance(found, dict):
        return row | {"note": found or "not run yet"}
    ours, theirs = found["ours"], found["lm-eval"]
    scores = {name.removesuffix(",none"): v for name, v in theirs["scores"].items() if name.endswith(",none")}
    scores = {name: v for name, v in scores.items() if "stderr" not in name}
    own = {name: ours["score"]["score" if name == row["metric"] else name] for name in scores}
    otherwise, greatest = differing(ours["items"], theirs["items"])
    row |= {"ours": own[row["metric"]], "lm-eval": scores[row["metric"]], "answered otherwise": otherwise}
    row["metrics that differ"] = f"{sum(abs(own[m] - scores[m]) > 1e-9 for m in scores)} of {len(scores)}"
    row |= {"greatest difference, nats": greatest, "ours, CPU s": ours["cpu"], "lm-eval, CPU s": theirs["cpu"]}
    beyond = greatest is not None and greatest > TOLERANCE
    return row | {"fewer CPU s": f"{theirs['cpu'] / ours['cpu']:.2f}×", "note": "beyond the tolerance" if beyond else ""}


def differing(ours, theirs):
    """(items answered otherwise, greatest difference of a log-likelihood or, where answers are written, None)."""
    if len(ours) != len(theirs):
        raise SystemExit(f"{ours[0]['task']}: {len(ours)} items of ours and {len(theirs)} of lm-eval's")
    if "answer" in ours[0]:
        return sum(a["answer"] != b["answer"] for a, b in zip(ours, theirs, strict=True)), None
    otherwise, greatest = 0, 0.0
    for a, b in zip(ours, theirs, strict=True):
        one, other = np.array(a["loglikelihoods"]), np.array(b["loglikelihoods"])
        greatest = max(greatest, float(np.abs(one - other).max()))
        metrics = [m for m in b if m != "loglikelihoods" and m in a]
        otherwise += one.argmax() != other.argmax() or any(a[m] != b[m] for m in metrics)
    return int(otherwise), greatest


def timed(tasks, arguments):
    """{task: {"ours": [[wall, CPU seconds] a repeat], "lm-eval": {batch size: [...]}}}, measured now."""
    found = {p.name: {"kind": kind(p), "ours": [], "lm-eval": {b: [] for b in arguments.batches}} for p in tasks}
    for repeat in range(arguments.repeats):
        print(f"  time: {repeat + 1} of {arguments.repeats} ...", file=sys.stderr, flush=True)
        warm = [tasks[0], *tasks]  # the first run of a process is slower: it is not counted
        own = our_runs(warm, arguments)[1:]
        asked = [(p, batch) for p in warm for batch in arguments.batches]
        theirs = lm_eval_runs(asked, arguments)[len(arguments.batches) :]
        for n, p in enumerate(tasks):
            found[p.name]["ours"].append([own[n]["wall"], own[n]["cpu"]])
            for m, batch in enumerate(arguments.batches):
                run = theirs[n * len(arguments.batches) + m]
                found[p.name]["lm-eval"][batch].append([run["wall"], run["cpu"]])
    return found


def faster(task, found):
    """The time table's row of one task."""
    ours, cpu = (median([run[n] for run in found["ours"]]) for n in (0, 1))
    theirs = {batch: median([wall for wall, _ in runs]) for batch, runs in found["lm-eval"].items()}
    best = min(theirs, key=theirs.get)
    best_cpu = median([used for _, used in found["lm-eval"][best]])
    row = {"task": task, "ours, s": ours, **{f"lm-eval, batch {batch}, s": s for batch, s in theirs.items()}}
    return row | {
        "lm-eval's best batch": str(best),
        "ours: faster by": f"{theirs[best] / ours:.2f}×",
        "CPU": f"{best_cpu / cpu:.2f}×",
    }


def time_parts(measured):
    """The report's parts on time: a table a kind, all its tasks together in the last row."""
    parts = []
    for name in KINDS:
        own = {task: found for task, found in measured["tasks"].items() if found["kind"] == name}
        if own:
            batches = next(iter(own.values()))["lm-eval"]
            whole = {
                "ours": [together(found["ours"] for found in own.values())],
                "lm-eval": {b: [together(found["lm-eval"][b] for found in own.values())] for b in batches},
            }
            rows = [faster(task, found) for task, found in (own | {"all": whole}).items()]
            parts.append((f"Time: {name}; {measured['items']} items a task, {measured['threads']} threads", rows, ""))
    return parts


def together(tasks):
    """[wall, CPU] seconds of several tasks, each the median of its repeats."""
    medians = [[median([repeat[n] for repeat in repeats]) for n in (0, 1)] for repeats in tasks]
    return [sum(column) for column in zip(*medians, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS, metavar="TASK", help=" ".join(TASKS))
    parser.add_argument("--parts", nargs="+", default=["equality", "time"], choices=["equality", "time"])
    parser.add_argument("--items", type=int, default=200, help="items a task whose answers are chosen")
    parser.add_argument("--written-items", type=int, default=50, help="items a task whose answers are written")
    parser.add_argument("--time-items", type=int, default=8, help="items a task that are timed")
    parser.add_argument("--batches", nargs="+", default=["1", "8", "32"], help="lm-eval's batch sizes; the best is compared")
    parser.add_argument("--repeats", type=int, default=1, help="times that time is measured")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="asset, folder or hub id")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--prefix", default="", help='words before each measured command, e.g. "taskset -c 0,1"')
    arguments = parser.parse_args()
    if not os.environ.get("BLOSSOM_ASSETS"):
        sys.exit("the items come from real files: set BLOSSOM_ASSETS to the folder of benchmarks/, parallel/ and text/")
    arguments.model = str(fetch_asset(arguments.model))
    arguments.weights = paths.hash_path(Path(arguments.model))[:16]
    arguments.start = start_token(load_tokenizer(arguments.model))
    with tempfile.TemporaryDirectory() as name:
        run(arguments, Path(name))


def run(arguments, folder):
    arguments.folder = folder / "all"
    written = {task: task == "nsmc" or task in GROUPS["translation"] for task in arguments.tasks}
    counts = {task: arguments.written_items if written[task] else arguments.items for task in arguments.tasks}
    tasks = [evaluated.prepare(task, arguments.folder / task, counts[task]) for task in arguments.tasks]
    found = {p.name: equality(p, arguments) for p in tasks}
    parts = equality_parts(tasks, found, arguments)
    file = KEPT / "time.json"
    if "time" in arguments.parts:
        arguments.folder = folder / "slice"
        some = [evaluated.prepare(task, arguments.folder / task, arguments.time_items) for task in arguments.tasks]
        try:
            known = {"items": arguments.time_items, "threads": torch.get_num_threads(), "tasks": timed(some, arguments)}
        except Failed as error:
            sys.exit(f"time could not be measured: {error}")
        paths.write_json(file, known | {"conditions": {p.name: conditions(p, arguments) for p in some}})
    if file.exists():
        parts += time_parts(paths.read_json(file))
    common.report("eval", "Benchmark scores beside lm-eval's command line", parts, {"parts": parts})


def equality_parts(tasks, found, arguments):
    """The report's parts on equality: a table a kind."""
    parts = []
    for name in KINDS:
        rows = [compared(p, found[p.name]) for p in tasks if kind(p) == name]
        if rows:
            remark = f"CPU seconds of all threads in one run each, lm-eval's with batches of {BATCH}. "
            equal = "the same text" if name == KINDS[2] else f"no choice's log-likelihood more than {TOLERANCE} nats apart"
            if name == KINDS[2]:
                remark += f"Tasks with written answers use {arguments.written_items} items, the others {arguments.items}. "
            parts.append((f"Equality ({arguments.precision}): {name}", rows, remark + f"Equal means: {equal}."))
    return parts


if __name__ == "__main__":
    main()
