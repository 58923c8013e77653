"""Training speed and memory beside the peers: `python benchmarks/bench_train.py` prints one table a case.

Same weights, same merged vocabulary, same text, same batch and sequence, same trained parameters, bfloat16 where the
processor multiplies it faster. Each measurement is a process of its own; tools take turns within a repeat, and the
table shows medians over the repeats. Steps before the clock starts (compiling, first touches of memory) are left out.
No repeat is begun that would not end within `--minutes`; the first is made whole however long it takes.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import common
import torch
from common import OURS, Failed, measure, median

from blossom.common import params, paths, runs
from blossom.common.stages import TRAINED
from blossom.models.loading import pick_dtype
from blossom.text.corpus import read_corpus
from blossom.vocabulary.encoding import count_tokens
from blossom.vocabulary.loading import load_tokenizer

SCRIPTS = {
    OURS: "run_blossom.py",
    "transformers": "run_trainer.py",
    "trl": "run_trl.py",
    "llama-factory": "run_llamafactory.py",
    "litgpt": "run_litgpt.py",
}
SHOWN = {OURS: "ours", "transformers": "transformers Trainer (run_clm)", "trl": "TRL 1.16 SFTTrainer"}
SHOWN |= {"llama-factory": "LLaMA-Factory 0.9.5", "litgpt": "litgpt 0.5.13 (not compiled)"}
LONGEST = 512  # tokens of a sequence
EVERYONE, PEFT_USERS = list(SCRIPTS), [OURS, "transformers", "trl"]


def cases():
    """Name -> what is run: task, trained parameters, batch and sequence, and the tools that can do it."""
    laptop, tuning = (
        params.effective_params(s, "laptop", "blossom-bi-biSFT") for s in ("03_bilingual_pretraining", "04_korean_lima_sft")
    )
    lora, rows, task = "lora+embeddings", "lora+new-rows", "pretraining"
    return {
        "pretraining": (task, lora, 2, LONGEST, EVERYONE),
        "pretraining-laptop": (task, lora, laptop.batch_size, laptop.block_size, EVERYONE),
        "pretraining-new-rows": (task, rows, 2, LONGEST, PEFT_USERS),
        "tuning": ("tuning", lora, tuning.sft_batch_size, LONGEST, [OURS, "trl"]),
    }


def prepare(model, folder, seed=0):
    """The texts of all cases, written to `folder`: pretraining.jsonl, tuning.jsonl. Returns what every run is asked."""
    p = params.effective_params("03_bilingual_pretraining", "laptop", "blossom-bi")
    text, tokenizer = read_corpus(p), load_tokenizer(model)
    mixed = [{"text": line} for ko, en in zip(text.korean, text.english, strict=False) for line in (ko, en)]
    draw, english = random.Random(seed), iter(text.english)
    tuning = []
    for korean in text.korean[:400]:  # a long prompt, its answer one line: what logits for labels alone are good for
        lines, length = [], draw.randint(200, 440)
        while count_tokens(tokenizer, lines) < length:
            lines.append(next(english))
        row = {"prompt": "\n".join([*lines, "Korean:", ""]), "completion": korean[:120]}
        if count_tokens(tokenizer, row.values()) < LONGEST:  # nobody cuts an example short
            tuning.append(row)
    for name, rows in (("pretraining", mixed), ("tuning", tuning)):
        paths.write_text(Path(folder) / f"{name}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    config = json.loads((Path(model) / "config.json").read_text())
    return {
        "model": str(model),
        "tied": config["tie_word_embeddings"],
        "first_new_row": config.get("first_new_row"),
        "eos_id": tokenizer.eos_token_id,
        "bf16": pick_dtype() == torch.bfloat16,
        **{"rank": p.lora_rank, "alpha": p.lora_alpha, "targets": p.lora_targets},
    }


def run(asked, arguments):
    """All measurements: case -> tool -> list of results, or a str that says why there are none."""
    more, began, longest = ("ceiling", "estimate"), time.time(), 0.0
    found = {name: {tool: [] for tool in (*tools, *more)} for name, (*_, tools) in arguments.chosen.items()}
    for repeat in range(arguments.repeats):
        start = time.time()
        if repeat and start - began + longest > 60 * arguments.minutes:
            print(f"  {repeat} of {arguments.repeats} repeats fit in {arguments.minutes:g} minutes", file=sys.stderr)
            break
        for name, (task, trainable, batch, sequence, tools) in arguments.chosen.items():
            spec = asked | {"task": task, "trainable": trainable, "batch": batch, "sequence": sequence}
            spec |= {"text": str(arguments.folder / f"{task}.jsonl"), "steps": arguments.steps, "warm_steps": 2}
            for tool in tools:
                if isinstance(found[name][tool], list) and tool in arguments.tools:
                    found[name][tool] = _one(
                        found[name][tool], tool, SCRIPTS[tool], spec, arguments, f"{name}, {repeat + 1}"
                    )
            for what in more if task == "pretraining" else ():
                found[name][what] = _one(found[name][what], OURS, f"run_{what}.py", spec, arguments, f"{name}, {what}")
        longest = max(longest, time.time() - start)
    return found


def _one(results, tool, script, spec, arguments, label):
    print(f"  {label}: {tool} ...", file=sys.stderr, flush=True)
    try:
        return [*results, measure(tool, script, spec, arguments.prefix)]
    except Failed as error:
        return results or str(error)  # a later repeat that fails leaves the earlier ones


def summary(name, case, results):
    """The rows of a case's table: medians, and ratios of ours to each peer."""
    task, _, batch, sequence, tools = case
    tuning = task == "tuning"
    unit = "examples/s" if tuning else "tokens/s"

    def figures(tool):
        runs = results[tool]
        speeds = [(r.get("examples_per_step", batch) if tuning else batch * sequence) / r["seconds_per_step"] for r in runs]
        return {
            unit: median(speeds),
            "step, s": median([r["seconds_per_step"] for r in runs]),
            "peak, GB": median([r["peak_bytes"] for r in runs]) / 1e9,
            "until first step, s": median([r["first_step_after"] for r in runs]),
        }

    known = {tool: figures(tool) for tool in tools if isinstance(results[tool], list) and results[tool]}
    columns = [unit, "step, s", "peak, GB", "until first step, s", "ours: faster by", "ours: memory"]
    rows = []
    for tool in tools:
        row = {"tool": SHOWN[tool], **dict.fromkeys(columns), "note": results[tool] or "not asked for"}
        if tool in known:
            row |= known[tool] | {"note": f"{len(results[tool])} runs"}
            if tool != OURS and OURS in known:
                row["ours: faster by"] = f"{known[OURS][unit] / known[tool][unit]:.2f}×"
                row["ours: memory"] = f"{known[OURS]['peak, GB'] / known[tool]['peak, GB']:.2f}×"
        rows.append(row)
    return rows


def ceiling(results, batch, sequence):
    """One line on the step's matrix products by themselves, and the share of them in our step."""
    runs = results["ceiling"]
    if not runs or isinstance(runs, str) or not isinstance(results.get(OURS), list) or not results[OURS]:
        return ""
    linear = median([r["layers_seconds"] + r["head_seconds"] for r in runs])
    attention = median([r["attention_seconds"] for r in runs])
    speed = median([(r["layers_gflop"] + r["head_gflop"]) / (r["layers_seconds"] + r["head_seconds"]) for r in runs])
    step = median([r["seconds_per_step"] for r in results[OURS]])
    return (
        f"The step's own matrix products take {linear:.2f} s by themselves in the same run ({speed:,.0f} GFLOP/s, "
        f"{batch * sequence / linear:,.0f} tokens/s); ours runs at {linear / step:.0%} of that, "
        f"{(linear + attention) / step:.0%} with attention's products ({attention:.2f} s)."
    )


def foretold(results):
    """One line on our own estimate beside what was measured."""
    ours, told = results.get(OURS), results["estimate"]
    if not (ours and told and isinstance(ours, list) and isinstance(told, list)):
        return ""
    memory, peak = (median([r[key] for r in found]) for found, key in ((told, "memory"), (ours, "peak_bytes")))
    return f"Our estimate beforehand: {memory / 1e9:.2f} GB ({memory / peak - 1:+.0%} of what was measured)."


def main():
    known = cases()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="folder with the merged vocabulary; default: the laptop run's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7, help="steps a run, two of them before the clock starts")
    parser.add_argument("--minutes", type=float, default=11.0, help="begin no repeat that would end later")
    parser.add_argument("--cases", nargs="+", default=["pretraining", "tuning"], choices=list(known))
    parser.add_argument("--tools", nargs="+", default=EVERYONE, choices=EVERYONE)
    parser.add_argument("--prefix", default="", help='words before each measured command, e.g. "taskset -c 0,1"')
    arguments = parser.parse_args()
    p = params.effective_params(TRAINED, "laptop", "blossom-bi")
    model = arguments.model or runs.require_model(p, TRAINED)  # of stage 02
    arguments.chosen = {name: known[name] for name in arguments.cases}
    with tempfile.TemporaryDirectory() as folder:
        arguments.folder = Path(folder)
        found = run(prepare(Path(model).resolve(), folder), arguments)
    parts = []
    for name, case in arguments.chosen.items():
        task, trainable, batch, sequence, _ = case
        what = f"{name}: {trainable}, {batch} × {sequence}" + (
            ", long prompts, loss on the answers" if task == "tuning" else ""
        )
        remarks = ceiling(found[name], batch, sequence), foretold(found[name])
        parts.append((what, summary(name, case, found[name]), " ".join(remark for remark in remarks if remark)))
    common.report(
        "train",
        "Training beside the peers",
        parts,
        {"cases": {n: list(c[:4]) for n, c in arguments.chosen.items()}, "measurements": found},
    )


if __name__ == "__main__":
    main()
