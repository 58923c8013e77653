"""The report's tables. Each takes the finished runs, dict (recipe, stage) -> FinishedRun."""

import numpy as np
import pandas as pd

from blossom.benchmark.papers import paper_model, paper_table6, read_papers
from blossom.common import figures, params, paths, stages
from blossom.common.runs import find_run

MAIN = "blossom-bi-biSFT"  # the paper's final model


def select_stage(runs, stage):
    """recipe -> FinishedRun of one stage."""
    return {recipe: run for (recipe, s), run in runs.items() if s == stage}


def select_table6(runs):
    """recipe -> {task: its entry in stage 05's metrics}, for recipes that were scored on all of table 6's tasks."""
    names = read_papers()["bllossom"]["table6"]["tasks"]
    found = {recipe: run.metrics["tasks"] for recipe, run in select_stage(runs, stages.SCORED).items()}
    return {recipe: {n: tasks[n] for n in names} for recipe, tasks in found.items() if set(names) <= set(tasks)}


def describe_benchmarks(runs):
    """Table 6's averages with 95 % intervals in one line, beside one constant answer's; "" without scores."""
    told, above, constant = [], 0, 0.0
    for recipe, found in select_table6(runs).items():
        tasks = found.values()
        score, constant = (100 * np.mean([of(task) for task in tasks]) for of in (lambda t: t["score"], constant_score))
        half = 196 * np.linalg.norm([task["stderr"] for task in tasks]) / len(tasks)  # the tasks' items are independent
        above += score - half > constant
        told.append(f"{recipe} {score:.1f} % [{score - half:.1f}, {score + half:.1f}]")
    line = f"{above} of {len(told)} averages lie clearly above one constant answer's {constant:.1f} %: {', '.join(told)}"
    return line if told else ""


def describe_recipe(name):
    """What a recipe's model is: the comment in the first line of its file, with the run's language; "–" without one."""
    first = params.recipe_file(name).read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").replace("Korean", figures.language_name()) if first.startswith("#") else "–"


def tabulate_recipes(runs):
    """Table 4: each recipe's vocabulary, pretraining text and instructions in this run, and the paper's model like it."""
    rows = []
    for recipe in dict.fromkeys(r for r, _ in runs):
        merged, _, tuned = (find_run(runs, stage, recipe) for stage in stages.MODEL_STAGES)
        trained = [runs[r.name, stages.TRAINED] for r in params.recipe_lineage(recipe) if (r.name, stages.TRAINED) in runs]
        row = {"recipe": recipe, "the paper's model": paper_model(recipe)}
        row["vocabulary"] = f"{merged.metrics['vocabulary']:,} (+{merged.metrics['added']:,})" if merged else "the base's"
        row |= _describe_text(trained) if trained else {}
        rows.append(row | ({"instructions": _list_examples(tuned)} if tuned else {}))
    return pd.DataFrame(rows).fillna("–")


def _list_examples(tuned):
    return " + ".join(f"{n:,} {kind}" for kind, n in tuned.metrics["examples"].items() if n)


def _describe_text(trained):
    row = {"pretraining tokens": f"{sum(sum(run.metrics['tokens'].values()) for run in trained):,}"}
    read = [text for run in trained for text in run.metrics["table3"]]
    for name, start in ((figures.language_name(), "korean"), ("English", "english")):
        mb = sum(text["megabytes"] * text["epochs"] for text in read if text["source"].startswith(start))
        row[f"{name} text"] = f"{1000 * mb:.0f} KB" if mb < 1 else f"{mb:.0f} MB" if mb < 1000 else f"{mb / 1000:.1f} GB"
    return row


def compare_with_paper(runs):
    """A row for each quantity of tables.yaml that was measured here: what, the paper, this run, why they differ."""
    last = MAIN if any(recipe == MAIN for recipe, _ in runs) else list(runs)[-1][0]
    found = [find_run(runs, stage, last) or find_run(runs, stage) for stage in stages.MODEL_STAGES]
    scored, rows, told = select_table6(runs), [], paths.read_yaml_beside(__file__)
    for run in [*filter(None, found), *(runs[recipe, stages.SCORED] for recipe in scored)]:
        m, values = run.metrics, run.params | run.metrics | {"language": figures.language_name()}
        if run.stage == stages.MERGED:
            theirs = (m.get("paper_merge") or {}).get("the paper's")  # where stage 02 had the paper's own files
            counted = "{unreachable:,} of {new:,} (02's count on its files)" if theirs else "not in the paper"
            saved = {t: 1 - m[f"{t}_tokens_after"] / m[f"{t}_tokens_before"] for t in ("korean", "general_korean")}  # unseen
            values["saved"] = ", ".join(f"{share:.0%} fewer ({figures.LABELS[t]})" for t, share in saved.items())
            unit = f"{figures.LABELS['general_korean']}: tokens per word"
            long, short = (m["paper_merge"][name][unit] if theirs else 1 for name in ("Llama-2", "the paper's"))
            values["theirs"] = f"; Llama-2 + KoBERT save {1 - short / long:.0%} on it" if theirs else ""
            values |= {"counted": counted.format(**theirs or {}), "never": m["unreachable"]} | run.params
        elif run.stage == stages.TUNED:
            values["listed"] = _list_examples(run)
        elif run.stage == stages.SCORED:
            tasks, name = scored[run.recipe].values(), paper_model(run.recipe)
            values |= {"score": 100 * np.mean([t["score"] for t in tasks]), "items": sum(t["items"] for t in tasks)}
            values["theirs"] = f"{paper_table6()[name]['average']:.1f} ({name})" if name else "not in the paper"
        rows += [[cell.format_map(values) for cell in row] for row in told[run.stage]]
    return pd.DataFrame(rows, columns=["what", "the paper", "this run", "why they differ"])


def constant_score(row):
    """A task's score, 0 to 1, for giving one answer to every item; `row` is the task's entry in stage 05's metrics."""
    return row["majority_share"] if row.get("constant") is None else row["constant"]
