"""A model's scores on prepared tasks, with everything that makes a score comparable."""

import contextlib
import io
import time

import numpy as np
import torch

from blossom.benchmark import statistics
from blossom.benchmark.suite import PAPER_TASKS


def plan_evaluation(model, tokenizer, prepared, tokens=0):
    """What scoring will take, from counting tokens and timing one forward pass.

    return  dict: items, lm_eval_tokens (every choice with its context), tokens (shared ones once), seconds, gigabytes
            (weights and the largest logits), written (tokens to write at most: they come on top of seconds)
    """
    from blossom.benchmark.scoring import SharedPrefixLM
    from blossom.benchmark.trees import tree_logits

    lm = SharedPrefixLM(model, tokenizer, tokens)
    plain = shared = written = 0
    for p in prepared:
        if p.generates:
            written += len(p.rows) * p.task.config.generation_kwargs["max_gen_toks"]
            continue
        before, after, forest = _counted(lm, p)
        plain, shared = plain + before, shared + after
    seconds = 0.0
    if shared:
        started = time.time()
        with torch.no_grad():
            tree_logits(model, forest, [0])
        seconds = (time.time() - started) / sum(len(tree.ids) for tree in forest) * shared
    weights = sum(w.numel() * w.element_size() for w in model.parameters())
    logits = lm.tokens * model.get_input_embeddings().weight.shape[0] * (model.dtype.itemsize + 4)
    items = sum(len(p.rows) for p in prepared)
    sizes = {"items": items, "lm_eval_tokens": plain, "tokens": shared, "written": written}
    return sizes | {"seconds": round(seconds, 1), "gigabytes": round((weights + logits) / 1e9, 2)}


def _counted(lm, p):
    """(tokens lm-eval would read, tokens read here, the first pass's trees) of a task whose answers are chosen."""
    with contextlib.redirect_stderr(io.StringIO()):
        p.task.build_all_requests(rank=0, world_size=1)
    return lm.count(p.task.instances)


def average_score(scores):
    """Mean of the scores of the paper's tasks among `scores` (0 to 1); of all when none of the paper's is there."""
    own = [s["score"] for task, s in scores.items() if task in PAPER_TASKS] or [s["score"] for s in scores.values()]
    return float(np.mean(own))


def evaluate_model(model, tokenizer, prepared, tokens=0, show=print, done=lambda p, score, items: None):
    """A model's scores on prepared tasks.

    model, tokenizer  as `load_model` gives them
    tokens            most tokens of one forward pass; 0 fits them to the memory
    show              called with a line for each finished task
    done              called with each task as soon as it is scored, so that what is finished can be kept
    return            (scores, items): {task: score} as metrics.json has it, and one dict an item

    A score holds `metric` and its value `score` (0 to 1), `stderr`, `items`, `majority_share`, `constant` (the most that
    one constant answer gets in this metric), `shots`, `version`, `prompt_hash`, `origin`, `truncated` (items cut on the
    left), `signature` (of BLEU and chrF), `tokens` and `lm_eval_tokens` (read here, and by lm-eval for the same), `seconds`,
    and every other metric by its name.
    """
    from blossom.benchmark.scoring import SharedPrefixLM

    lm = SharedPrefixLM(model, tokenizer, tokens)
    scores, items = {}, []
    for p in prepared:
        lm.truncated.clear()
        lm.read = lm.lm_evals = 0
        started = time.time()
        values, samples = _run(lm, p.task)
        own = [_item(p, row, sample, lm.truncated) for row, sample in zip(p.rows, samples, strict=True)]
        seconds = round(time.time() - started, 2)
        scores[p.name] = _score(p, values, own) | {"tokens": lm.read, "lm_eval_tokens": lm.lm_evals, "seconds": seconds}
        items += own
        done(p, scores[p.name], own)
        show(f"{p.name:18s} {describe_score(scores[p.name])}  {seconds:.1f} s")
    return scores, items


def describe_score(score):
    """One line: `f1 0.512 ± 0.081 (32 items; a constant answer gets 0.667)`."""
    truncated = f"; {score['truncated']} cut to fit the model" if score["truncated"] else ""
    constant = "" if score["constant"] is None else f"; a constant answer gets {score['constant']:.3f}"
    return f"{score['metric']} {score['score']:.3f} ± {score['stderr']:.3f} ({score['items']} items{constant}{truncated})"


def _run(lm, task):
    """(metric -> value, samples) of one task, by lm-eval's own evaluator."""
    from lm_eval.evaluator import evaluate as lm_evaluate

    with contextlib.redirect_stderr(io.StringIO()):  # its bars; ours is shown for what takes longer than some seconds
        result = lm_evaluate(lm, {"tasks": {task.task_name: task}}, bootstrap_iters=0, log_samples=True)
    values = result["results"][task.task_name]
    values = {
        key.removesuffix(",none"): float(v) for key, v in values.items() if key.endswith(",none") and "_stderr" not in key
    }
    return values, sorted(result["samples"][task.task_name], key=lambda s: s["doc_id"])


def _item(p, row, sample, truncated):
    """What is kept of one item: its label, the choice and the choices' log-likelihoods (nats), or the written answer."""
    item = {"task": p.name, "id": row["id"], "truncated": sample["arguments"][0][0] in truncated}
    if "label" in row:
        item["label"] = row["label"]
    if p.generates:
        item["answer"] = sample["filtered_resps"][0]
    else:
        item["loglikelihoods"] = [float(likelihood) for likelihood, _ in sample["filtered_resps"]]
        item["choice"] = int(np.argmax(item["loglikelihoods"]))
    if "bleu" in sample:
        item["reference"] = sample["bleu"][0]
    return item | {name: float(sample[name]) for name in sample["metrics"] if np.isscalar(sample[name])}


def _score(p, values, items):
    metric = p.settings["score"]
    return {
        "metric": metric,
        "score": values[metric],
        "stderr": _stderr(p, metric, items),
        "items": len(items),
        "majority_share": p.majority_share,
        "constant": None if p.generates else _constant(p, metric),
        "shots": p.shots,
        "version": str(p.settings["version"]),
        "prompt_hash": p.prompt_hash,
        "origin": p.origin,
        "truncated": sum(i["truncated"] for i in items),
        **({"signature": statistics.sacrebleu_signature(metric)} if metric in statistics.WRITTEN else {}),
        **{name: value for name, value in values.items() if name != metric},
    }


def _stderr(p, metric, items):
    """Standard error: of a mean over items as lm-eval's, of F1 and BLEU by a bootstrap of 1,000 draws of the items."""
    if len(items) < 2:
        return 0.0
    if metric in items[0]:
        return float(np.std([i[metric] for i in items], ddof=1) / np.sqrt(len(items)))
    scores = statistics.item_statistic(metric, items, p.is_macro)(statistics.draw_items(len(items), 1000))
    return float(np.std(scores, ddof=1))


def _constant(p, metric):
    """The most that giving one and the same answer to every item would score."""
    if metric != "f1":
        return p.majority_share
    labels = np.array([row["label"] for row in p.rows])
    return max(float(statistics.f1_of_draws(labels, np.full_like(labels, c), p.is_macro)) for c in set(labels.tolist()))
