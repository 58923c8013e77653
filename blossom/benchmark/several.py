"""Several models on the same tasks: which they are, and their scores, each computed once and kept.

A score is kept under the model's hash and the task's hash: a second report costs nothing, a run that dies keeps the tasks
it has finished, and a changed prompt, row or weight is scored anew.
"""

import gc
import hashlib
import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import torch
import yaml

from blossom.assets.registry import fetch_asset
from blossom.benchmark.evaluation import describe_score, evaluate_model, plan_evaluation
from blossom.common import params, paths, runs
from blossom.models.bits import bits_per_byte
from blossom.models.loading import load_model, pick_dtype

COMPARATORS = paths.ROOT / "params" / "comparators.yaml"
VERSION = f"1, lm-eval {metadata.version('lm-eval')}"  # of what is kept: another one is scored anew


def read_comparators():
    """The models that the papers compare with, from params/comparators.yaml: {name: {"hub", "paper", "row"}}."""
    return yaml.safe_load(COMPARATORS.read_text(encoding="utf-8"))


def find_models(p, names):
    """Where the models to be scored are, before anything is scored.

    p       the notebook's parameters: its recipe comes last
    names   "parents" (the recipes that the recipe comes from), recipes, names in params/comparators.yaml, folders, hub ids
    return  {name: folder}, in the order of `names`, then the recipe itself

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


def score_models(folders, prepared, kept, precision="auto", tokens=0, texts=None, show=print):
    """Scores of several models on prepared tasks, and their bits per byte of texts.

    folders  {name: folder of the model}, as `find_models` gives them; one model is in memory at a time
    kept     folder of finished scores; None keeps none
    texts    {name: lines} to measure in bits per byte, e.g. held-out English
    show     called with a line for what comes and for each finished task
    return   {model: {"tasks": {task: score}, "items": [dict an item], "bits_per_byte": {text: float}}}
    """
    return {
        name: _score(name, folder, prepared, kept, precision, tokens, texts or {}, show) for name, folder in folders.items()
    }


def _score(name, folder, prepared, kept, precision, tokens, texts, show):
    dtype = pick_dtype(precision)
    place = Path(kept) / f"{paths.hash_path(folder)[:16]}-{str(dtype).removeprefix('torch.')}" if kept else None
    keys = {p.name: f"{p.name}-{p.digest}" for p in prepared} | {
        t: f"bits-{t}-{_digest(lines)}" for t, lines in texts.items()
    }
    known = {key: found for key in keys if place and (found := _read(place / f"{keys[key]}.json"))}
    missing = [p for p in prepared if p.name not in known]
    for p in (p for p in prepared if p.name in known):
        show(f"{name}: {p.name:18s} {describe_score(known[p.name]['score'])}  kept")
    if len(known) < len(keys):
        model, tokenizer = load_model(folder, dtype)
        _announce(name, model, tokenizer, missing, tokens, show)

        def done(key, value):
            known[key] = {"version": VERSION, **value}
            if place:
                paths.write_json(place / f"{keys[key]}.json", known[key])

        evaluate_model(
            *(model, tokenizer, missing, tokens),
            show=lambda line: show(f"{name}: {line}"),
            done=lambda p, score, items: done(p.name, {"score": score, "items": items}),
        )
        for text, lines in texts.items():
            if text not in known:
                done(text, {"bits_per_byte": bits_per_byte(model, tokenizer, lines)})
        del model
        gc.collect()
        torch.cuda.empty_cache()
    return {
        "tasks": {p.name: known[p.name]["score"] for p in prepared},
        "items": [item for p in prepared for item in known[p.name]["items"]],
        "bits_per_byte": {text: known[text]["bits_per_byte"] for text in texts},
    }


def _announce(name, model, tokenizer, missing, tokens, show):
    """What scoring this model will take, before it starts."""
    if missing:
        e = plan_evaluation(model, tokenizer, missing, tokens)
        fewer = 1 - e["tokens"] / max(1, e["lm_eval_tokens"])
        read = f"lm-eval reads {e['lm_eval_tokens']:,} tokens, we {e['tokens']:,} ({fewer:.0%} fewer)"
        show(
            f"{name}: {e['items']} items; {read} and write at most {e['written']:,}; "
            f"about {e['seconds']:.0f} s and the writing, {e['gigabytes']:.1f} GB"
        )


def _digest(lines):
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _read(file):
    """What was kept, or None: not there, of another version, or not readable (it is then made again)."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if found.get("version") == VERSION else None
