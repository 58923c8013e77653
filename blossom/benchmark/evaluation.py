"""Scores of one or several models on prepared tasks; each score is computed once and kept.

A score is kept under the hash of the model and the hash of the task: a second run computes nothing, a run that is cut off
keeps what it has finished, and another prompt, row or weight is scored anew.
"""

import gc
import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
import yaml

from blossom.assets.registry import fetch_asset
from blossom.benchmark.statistics import BLEU_METRICS, bleu_signature, draw_items, f1_of_draws, item_statistic
from blossom.benchmark.suite import PAPER_TASKS, short_hash
from blossom.common import params, paths, runs
from blossom.models.bits import bits_per_byte
from blossom.models.loading import load_model, pick_dtype

COMPARATORS = paths.ROOT / "params" / "comparators.yaml"
VERSION = f"2, lm-eval {metadata.version('lm-eval')}"  # of the kept scores; those of another version are computed again
CALL_ITEMS = 500  # items that one call of lm-eval gets at least: it takes a second by itself, and what it did is then kept


def read_comparators():
    """The models that the papers compare with, from params/comparators.yaml: {name: {"hub", "paper", "row"}}."""
    return yaml.safe_load(COMPARATORS.read_text(encoding="utf-8"))


def find_models(p, names):
    """Where the models to be scored are.

    p       the notebook's parameters; the model of its recipe comes last
    names   "parents" (the recipes that the recipe comes from), recipes, names in params/comparators.yaml, folders, hub ids
    return  {name: folder}, in the order of `names`

    Raises ValueError or RuntimeError: a name that is none of these, a model that cannot be had (no network, gated).
    """
    known, found = read_comparators(), {}
    ancestors = [r.name for r in params.recipe_lineage(p.recipe)][:0:-1]  # the base first
    wanted = [n for name in names for n in (ancestors if name == "parents" else [name])]
    for name in dict.fromkeys([*(n for n in wanted if n != p.recipe), p.recipe]):
        if name in known:
            found[name] = fetch_asset(known[name]["hub"])
        elif params.recipe_file(name).exists():
            folder = runs.require_model(replace(p, recipe=name), "05_benchmark_eval")
            found[name] = folder or fetch_asset(p.base_model)
        else:
            found[name] = fetch_asset(name)
    return {name: Path(folder) for name, folder in found.items()}


def score_models(folders, prepared, evaluate, kept=None, precision="auto", tokens=0, texts=None, show=print):
    """Scores of several models on prepared tasks, and their bits per byte of texts; one model is in memory at a time.

    folders   {name: folder of the model}, as `find_models` gives them
    evaluate  (lm, tasks) -> what `lm_eval.simple_evaluate` returns for them
    kept      folder of finished scores; None keeps none
    tokens    most tokens of a forward pass; 0 fits them to the memory
    texts     {name: lines} to measure in bits per byte, e.g. held-out English
    show      called with a line for each finished task
    return    {model: {"tasks": {task: score}, "items": [dict an item], "bits_per_byte": {text: float}}}
    """
    texts, dtype = texts or {}, pick_dtype(precision)
    keys = {p.name: f"{p.name}-{p.digest}" for p in prepared}
    keys |= {text: f"bits-{text}-{short_hash(lines)}" for text, lines in texts.items()}
    results = {}
    for name, folder in folders.items():
        own = Path(kept) / f"{paths.hash_path(folder)[:16]}-{str(dtype).removeprefix('torch.')}" if kept else None
        files = {key: own / f"{file}.json" for key, file in keys.items()} if own else {}
        found = {key: record for key, file in files.items() if (record := _read_record(file))}
        for p in (p for p in prepared if p.name in found):
            show(f"{name}: {p.name:18s} {describe_score(found[p.name]['score'])}  kept")
        if len(found) < len(keys):
            loaded = load_model(folder, dtype)
            for key, record in _score_model(loaded, prepared, evaluate, tokens, texts, set(found)):
                found[key] = record | {"version": VERSION}
                if key in files:
                    paths.write_json(files[key], found[key])
                if "score" in record:
                    show(f"{name}: {key:18s} {describe_score(record['score'])}")
            del loaded
            gc.collect()
            torch.cuda.empty_cache()
        results[name] = {
            "tasks": {p.name: found[p.name]["score"] for p in prepared},
            "items": [item for p in prepared for item in found[p.name]["items"]],
            "bits_per_byte": {text: found[text]["bits_per_byte"] for text in texts},
        }
    return results


def _read_record(file):
    """A kept record; None when it was never made, is damaged or of another version."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return record if record.get("version") == VERSION else None


def _score_model(loaded, prepared, evaluate, tokens, texts, known):
    """(task or text, record) of everything that is not known, as soon as it is computed."""
    from blossom.benchmark.scoring import SharedPrefixLM

    lm, some = SharedPrefixLM(*loaded, tokens), []
    missing = [p for p in prepared if p.name not in known]
    for p in missing:
        some.append(p)
        if sum(len(own.rows) for own in some) >= CALL_ITEMS or p is missing[-1]:
            result = evaluate(lm, [own.task for own in some])
            for own in some:
                score, items = read_evaluation(own, result, lm)
                yield own.name, {"score": score, "items": items}
            some = []
    for text, lines in texts.items():
        if text not in known:
            yield text, {"bits_per_byte": bits_per_byte(*loaded, lines)}


def average_score(scores):
    """Mean of the scores (0 to 1) of the paper's tasks; of all tasks when none of the paper's is among them."""
    own = [s["score"] for task, s in scores.items() if task in PAPER_TASKS] or [s["score"] for s in scores.values()]
    return float(np.mean(own))


def describe_score(score):
    """One line: `f1 0.512 ± 0.081 (32 items; a constant answer gets 0.667)`."""
    truncated = f"; {score['truncated']} cut to fit the model" if score["truncated"] else ""
    constant = "" if score["constant"] is None else f"; a constant answer gets {score['constant']:.3f}"
    return f"{score['metric']} {score['score']:.3f} ± {score['stderr']:.3f} ({score['items']} items{constant}{truncated})"


def read_evaluation(p, result, lm):
    """(score, items) of a prepared task from what `lm_eval.simple_evaluate` returned.

    score   dict: `metric` and its value `score` (0 to 1), `stderr`, `items`, `majority_share`, `constant` (the most that
            one constant answer gets), `shots`, `version`, `prompt_hash`, `origin`, `truncated` (items cut on the left),
            `signature` (of BLEU and chrF), and every other metric by its name
    items   a dict an item: task, id, truncated, label, and loglikelihoods (nats) and choice, or the written answer
    """
    values = {key.removesuffix(",none"): v for key, v in result["results"][p.name].items() if key.endswith(",none")}
    values = {key: float(v) for key, v in values.items() if not key.endswith("_stderr")}
    samples = sorted(result["samples"][p.name], key=lambda sample: sample["doc_id"])
    items = [_read_item(p, n, sample, lm) for n, sample in enumerate(samples)]
    metric = p.settings["score"]
    score = {
        "metric": metric,
        "score": values.pop(metric),
        "stderr": _standard_error(p, metric, items),
        "items": len(items),
        "majority_share": p.majority_share,
        "constant": None if p.generates else _constant_score(p, metric),
        "shots": p.shots,
        "version": str(p.settings["version"]),
        "prompt_hash": p.prompt_hash,
        "origin": p.origin,
        "truncated": sum(item["truncated"] for item in items),
    }
    if metric in BLEU_METRICS:
        score["signature"] = bleu_signature(metric)
    return score | values, items


def _read_item(p, n, sample, lm):
    if p.generates:
        context, options = sample["arguments"][0]
        truncated = len(lm.tok_encode(context)) > lm.max_length - options["max_gen_toks"]
    else:
        truncated = any(len(lm.tok_encode(context + choice)) > lm.max_length + 1 for context, choice in sample["arguments"])
    item = {"task": p.name, "id": p.rows[n]["id"], "truncated": truncated}
    if p.labels:
        item["label"] = p.labels[n]
    if p.generates:
        item["answer"] = sample["filtered_resps"][0]
    else:
        item["loglikelihoods"] = [float(likelihood) for likelihood, _ in sample["filtered_resps"]]
        item["choice"] = int(np.argmax(item["loglikelihoods"]))
    if "bleu" in sample:
        item["reference"] = sample["bleu"][0]
    return item | {name: float(sample[name]) for name in sample["metrics"] if np.isscalar(sample[name])}


def _standard_error(p, metric, items):
    """Standard error: of a mean over items as lm-eval's, of F1 and BLEU from 1,000 bootstrap draws of the items."""
    if len(items) < 2:
        return 0.0
    if metric in items[0]:
        return float(np.std([item[metric] for item in items], ddof=1) / np.sqrt(len(items)))
    scores = item_statistic(metric, items, p.is_macro)(draw_items(len(items), 1000))
    return float(np.std(scores, ddof=1))


def _constant_score(p, metric):
    """The most that the same answer to every item scores."""
    if metric != "f1":
        return p.majority_share
    labels = np.array(p.labels)
    return max(float(f1_of_draws(labels, np.full_like(labels, c), p.is_macro)) for c in set(p.labels))
