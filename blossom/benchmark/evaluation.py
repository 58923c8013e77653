"""Score models on prepared tasks; each score is computed once and kept under the hashes of the model and the task."""

import functools
import gc
from contextlib import redirect_stderr
from dataclasses import replace
from importlib import metadata
from io import StringIO
from pathlib import Path

import lm_eval
import numpy as np
import torch

from blossom.assets.registry import fetch_asset, is_intact, make_once
from blossom.benchmark import scoring, statistics, suite
from blossom.benchmark.texts import measure_texts
from blossom.common import params, paths, runs, stages
from blossom.models.loading import load_model, pick_dtype

VERSION = f"3, lm-eval {metadata.version('lm-eval')}"  # of the kept scores; those of another version are computed again


def read_comparators():
    """The models that the papers compare with, from params/comparators.yaml: {name: {"hub", "paper", "row"}}."""
    return params.load_yaml(paths.ROOT / "params" / "comparators.yaml")


def find_models(p, names):
    """The models to score: {name: folder}, in the order of `names`, the model of `p.recipe` last.

    names  "parents" (the recipes that the recipe comes from), recipes, names in params/comparators.yaml, folders, hub ids
    """
    known, found = read_comparators(), {}
    ancestors = [r.name for r in params.recipe_lineage(p.recipe)][:0:-1]  # the base first
    wanted = [n for name in names for n in (ancestors if name == "parents" else [name])]
    for name in dict.fromkeys([*(n for n in wanted if n != p.recipe), p.recipe]):
        if name in known:
            found[name] = fetch_asset(known[name]["hub"])
        elif params.recipe_file(name).exists():
            folder = runs.require_model(replace(p, recipe=name), stages.SCORED)
            found[name] = folder or fetch_asset(p.base_model)
        else:
            found[name] = fetch_asset(name)
    return {name: Path(folder) for name, folder in found.items()}


def score_models(folders, prepared, kept, precision="auto", tokens=0, texts=None, english=(), show=print):
    """Score models on prepared tasks and measure their bits per byte; one model is in memory at a time.

    kept, tokens  folder of finished scores; most tokens of a forward pass, 0: as many as fit into memory
    texts   {name: lines} to measure in bits per byte, and general Korean in English: see `measure_texts`
    return  {model: {"tasks": {task: score}, "texts": {text: {"bits_per_byte", "bytes", "documents"}},
            "items": [one dict an item or document, with the hash of all that was asked, `digest`]}}
    """
    dtype, results, origins = pick_dtype(precision), {}, {p.name: p.origin for p in prepared}
    jobs = [(p.name, f"{p.name}-{p.digest}", lambda lm, p=p: evaluate_task(p, lm)) for p in prepared]
    if texts:
        asked = texts, english
        parted = any(len(line.encode()) > 1000 for line in (*texts.get("general_korean", ()), *english) if english)
        how = () if dtype == torch.float32 else ("float32 residual",)  # other values than in runs of before
        how += ("states of all parts",) if parted else ()  # a document that a context may not hold
        file = f"texts-{suite.short_hash((*asked, *how))}"
        jobs.append(("texts", file, lambda lm: {"items": measure_texts(lm.model, lm.tokenizer, *asked)}))
    for name, folder in folders.items():
        own = f"{runs.hash_unchanged(folder)[:16]}-{str(dtype).removeprefix('torch.')}-{suite.short_hash(VERSION)}"
        load = functools.cache(lambda folder=folder: scoring.SharedPrefixLM(*load_model(folder, dtype), tokens))
        result = {"tasks": {}, "texts": {}, "items": []}
        for job, file, measure in jobs:
            target = Path(kept) / own / f"{file}.json"
            remark = "  kept" if is_intact(target, recorded=True) else ""
            make_once(target, lambda new, do=measure, load=load: paths.write_json(new, do(load())), recorded=True)
            record = paths.read_json(target, {"items": list[dict]})
            result["items"] += [item | {"digest": file.rsplit("-", 1)[1]} for item in record["items"]]
            if "score" in record:
                told = describe_score(record["score"])
                result["tasks"][job] = record["score"] | {"origin": origins[job]}  # the same rows may lie in several places
            else:
                result["texts"] = _sum_texts(record["items"], texts)
                told = ", ".join(f"{text} {found['bits_per_byte']:.3f}" for text, found in result["texts"].items())
            show(f"{name}: {job:18s} {told}{remark}")
        results[name] = result
        del load
        gc.collect()
        torch.cuda.empty_cache()
    return results


def _sum_texts(items, texts):
    found = {}
    for text in texts:
        own = [i for i in items if i["task"] == text]
        bits = statistics.item_statistic("bits_per_byte", own)(np.arange(len(own))[None])
        found[text] = {"bits_per_byte": float(bits[0]), "bytes": sum(i["bytes"] for i in own), "documents": len(own)}
    return found


def find_unchecked(p, prepared):
    """Print and return the origins of tasks that stage 04 of the recipe or its parents did not keep out of its examples."""
    found = []
    for recipe in params.recipe_lineage(p.recipe):
        file = paths.stage_folder(p.outputs, p.scale, recipe.name, stages.TUNED) / "params.yaml"
        if file.exists():
            checked = params.load_yaml(file)["evaluation_texts"]
            checked += [Path(p.benchmarks).name] if p.benchmarks in checked else []  # as origins begin there
            inside = tuple(f"{source.rstrip('/')}/" for source in checked)
            found += [t.origin for t in prepared if t.origin not in checked and not t.origin.startswith(inside)]
    if found := list(dict.fromkeys(found)):
        print("Stage 04 did not compare its examples with these; name them in evaluation_texts:", *found, sep="\n- ")
    return found


def average_score(scores):
    """Mean of the scores (0 to 1) of the paper's tasks; of all tasks when none of the paper's is among them."""
    own = [s["score"] for task, s in scores.items() if task in suite.PAPER_TASKS] or [s["score"] for s in scores.values()]
    return float(np.mean(own))


def describe_score(score):
    """One line: `f1 0.512 ± 0.081 (32 items; a constant answer gets 0.667)`."""
    truncated = f"; {score['truncated']} cut to fit the model" if score["truncated"] else ""
    constant = "" if score["constant"] is None else f"; a constant answer gets {score['constant']:.3f}"
    return f"{score['metric']} {score['score']:.3f} ± {score['stderr']:.3f} ({score['items']} items{constant}{truncated})"


def evaluate_task(p, lm):
    """Evaluate a model on a prepared task with `lm_eval.evaluate`: {"score": dict, "items": [one dict an item]}.

    score  `metric`, its value `score` (0 to 1), `constant` (the best score of one constant answer), `truncated` (items cut)
    items  task, id, metric, phenomenon (minimal pairs), truncated, label, the item's own metrics, and loglikelihoods (nats)
           and choice, or the written answer
    """
    p.task.set_fewshot_seed(seed=p.seed)  # every model gets the examples that the digest has
    with redirect_stderr(StringIO()):  # lm-eval's progress bars
        result = lm_eval.evaluate(lm, {"tasks": {p.name: p.task}}, bootstrap_iters=0)
    found = {key.split(",")[0]: value for key, value in result["results"][p.name].items() if key.endswith(",none")}
    values = {key: float(value) for key, value in found.items() if not key.endswith("_stderr")}
    samples = sorted(result["samples"][p.name], key=lambda sample: sample["doc_id"])
    items = [_read_item(p, n, sample, lm) for n, sample in enumerate(samples)]
    metric = p.settings["score"]
    stderr, truncated = _standard_error(p.metric, items), sum(item["truncated"] for item in items)
    score = {"metric": metric, "score": values.pop(metric), "stderr": stderr, "items": len(items), "truncated": truncated}
    score |= {name: getattr(p, name) for name in ("majority_share", "constant", "shots", "prompt_hash", "origin")}
    score["version"] = str(p.settings["version"])
    if metric in statistics.BLEU_METRICS:
        scorer = statistics.bleu_scorer(metric)
        scorer.corpus_score(["a"], [["a"]])  # before its first score a scorer has no signature
        score["signature"] = str(scorer.get_signature())
    return {"score": score | values, "items": items}


def _read_item(p, n, sample, lm):
    item = {"task": p.name, "id": p.rows[n]["id"], "metric": p.metric}
    item |= {key: p.rows[n][key] for key in ("phenomenon",) if key in p.rows[n]}
    if p.labels:
        item["label"] = p.labels[n]
    if p.generates:
        context, options = sample["arguments"][0]
        item["answer"] = sample["filtered_resps"][0]
        item["truncated"] = len(lm.tok_encode(context)) > lm.max_length - options["max_gen_toks"]
    else:
        item["loglikelihoods"] = [float(likelihood) for likelihood, _ in sample["filtered_resps"]]
        if not np.isfinite(item["loglikelihoods"]).all():
            raise ValueError(f"{p.name}, item {item['id']}: the model gives NaN or Inf as a log-likelihood")
        item["choice"] = int(np.argmax(item["loglikelihoods"]))
        lengths = (len(lm.tok_encode(context + choice)) for context, choice in sample["arguments"])
        item["truncated"] = max(lengths) > lm.max_length + 1
    if "bleu" in sample:
        item["reference"] = sample["bleu"][0]
    return item | {name: float(sample[name]) for name in sample["metrics"] if np.isscalar(sample[name])}


def _standard_error(metric, items):
    if len(items) < 2:
        return 0.0
    if metric in items[0]:
        return float(np.std([item[metric] for item in items], ddof=1) / np.sqrt(len(items)))
    return float(np.std(statistics.item_statistic(metric, items)(statistics.draw_items(len(items), 1000)), ddof=1))
