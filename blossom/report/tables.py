"""The report's tables. Each takes the finished runs, dict (recipe, stage) -> FinishedRun."""

import pandas as pd

from blossom.benchmark.papers import paper_model, paper_table6, read_papers
from blossom.common import figures
from blossom.common.params import starting_stage
from blossom.common.runs import find_run
from blossom.common.stages import MODEL_STAGES

MAIN = "blossom-bi-biSFT"  # the paper's final model
TEXTS = ("korean", "english", "general_korean", "general_english")
MERGED, TRAINED, TUNED = MODEL_STAGES
SCORED, JUDGED = "05_benchmark_eval", "06_qualitative_eval"


def select_stage(runs, stage):
    """recipe -> FinishedRun of one stage."""
    return {recipe: run for (recipe, s), run in runs.items() if s == stage}


def tabulate_bits(runs):
    """Bits/byte of the four held-out texts: a row for the base model, if measured, then one for each trained recipe."""
    rows, base = {}, {}
    for (recipe, stage), run in runs.items():
        if stage in (TRAINED, TUNED):
            rows[recipe] = run.metrics["bits_per_byte"]["after"]
            measured = "before" if stage == TUNED and not starting_stage(recipe, stage) else "base"
            base = base or run.metrics["bits_per_byte"].get(measured, {})
    rows = ({"base": base} if base else {}) | rows
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(TEXTS))
    return table.rename(columns=figures.LABELS).rename_axis("recipe")


def tabulate_scores(runs):
    """Table 6: score ± standard error (percent) of each task, one row a model, and the paper's rows.

    The last row is the score of always giving the items' commonest label.
    """
    rows, chance = [], {}
    for recipe, run in select_stage(runs, SCORED).items():
        tasks = run.metrics["tasks"]
        row = {task: f"{100 * found['score']:.1f} ± {100 * found['stderr']:.1f}" for task, found in tasks.items()}
        row["average"] = f"{100 * run.metrics['average']:.1f}"
        rows.append({"model": recipe, "source": "this run"} | row)
        if name := paper_model(recipe):
            theirs = {task: f"{value:.1f}" for task, value in paper_table6()[name].items()}
            rows.append({"model": f"{name} (13B)", "source": "the paper"} | theirs)
        chance |= {task: f"{100 * found['majority_share']:.1f}" for task, found in tasks.items()}
    rows.append({"model": "commonest label", "source": "this run's items"} | chance)
    labels = read_papers()["bllossom"]["table6"]["labels"] | {"average": "AVG"}
    return pd.DataFrame(rows).fillna("").rename(columns=labels)


def tabulate_recipes(runs):
    """Table 4: each recipe's vocabulary, pretraining text and instructions in this run, and the paper's model like it."""
    rows = []
    for recipe in dict.fromkeys(r for r, _ in runs):
        merged, trained, tuned = (find_run(runs, stage, recipe, inherited=True) for stage in MODEL_STAGES)
        seconds = sum(runs[recipe, s].manifest["wall_seconds"] for s in MODEL_STAGES if (recipe, s) in runs)
        row = {"recipe": recipe, "the paper's model": paper_model(recipe)}
        row["vocabulary"] = f"{merged.metrics['vocabulary']:,} (+{merged.metrics['added']:,})" if merged else "the base's"
        row |= _describe_text(trained) if trained else {}
        row |= {"instructions": _list_examples(tuned)} if tuned else {}
        rows.append(row | ({"training (s)": f"{seconds:.0f}"} if seconds else {}))
    return pd.DataFrame(rows).fillna("–")


def _list_examples(tuned):
    return " + ".join(f"{n:,} {kind}" for kind, n in tuned.metrics["examples"].items() if n)


def _describe_text(trained):
    row = {"pretraining tokens": f"{sum(trained.metrics['tokens'].values()):,}"}
    for name, size in zip((figures.language_name(), "English"), sum_megabytes(trained).values(), strict=True):
        row[f"{name} text"] = f"{1000 * size:.0f} KB" if size < 1000 else f"{size / 1000:.1f} GB"
    return row


def sum_megabytes(trained):
    """Megabytes of text that a pretraining read: {"korean": ..., "english": ...}."""
    size = {"korean": 0.0, "english": 0.0}
    for row in trained.metrics["table3"]:
        size["korean" if row["source"].startswith("korean") else "english"] += row["megabytes"] * row["epochs"]
    return size


def compare_with_paper(runs):
    """The report's first table: a row for each quantity that is in the paper and was measured here."""
    last = MAIN if any(recipe == MAIN for recipe, _ in runs) else list(runs)[-1][0]
    found = [find_run(runs, stage, last, inherited=True) or find_run(runs, stage) for stage in MODEL_STAGES]
    found += [*select_stage(runs, SCORED).values(), find_run(runs, JUDGED, last)]
    describe = dict(zip(MODEL_STAGES, (_vocabulary_rows, _pretraining_rows, _instruction_rows), strict=True))
    describe |= {SCORED: _score_rows, JUDGED: _preference_rows}
    rows = [row for run in found if run for row in describe[run.stage](run)]
    return pd.DataFrame(rows, columns=["what", "the paper", "this run", "why they differ"])


def _vocabulary_rows(merged):
    m, p = merged.metrics, merged.params
    here = f"{m['base_vocabulary']:,} + {m['added']:,} = {m['vocabulary']:,}"
    why = f"base {p['base_model']}, donor '{p['donor']}'"
    yield "vocabulary", "32,000 + 7,478 = 39,478 (Llama2 + KoBERT)", here, why
    counted = (m.get("paper_merge") or {}).get("the paper's")  # where stage 02 had the paper's own files
    theirs = f"{counted['unreachable']:,} of {counted['new']:,} (02's count on its files)" if counted else "not in the paper"
    here, why = f"{m['unreachable']:,} of {m['added']:,}", f"unreachable pieces: '{p['unreachable']}'"
    yield "added pieces that can never be produced", theirs, here, why
    texts = [t for t in ("korean", "general_korean") if f"{t}_tokens_before" in m]  # unseen lines
    saved = [f"{1 - m[f'{t}_tokens_after'] / m[f'{t}_tokens_before']:.0%} fewer ({figures.LABELS[t]})" for t in texts]
    here, why = ", ".join(saved), "unseen text, instead of one sentence"
    yield f"tokens for the same {figures.language_name()}", "21 pieces become 9 (table 1's sentence)", here, why


def _pretraining_rows(trained):
    m, p = trained.metrics, trained.params
    here = f"{sum(m['tokens'].values()):,} tokens, {m['korean_share_realised']:.1%} {figures.language_name()}"
    why = f"scale {p['scale']}: {m['seconds']:.0f} s at {m['tokens_per_second']:.0f} tokens/s"
    yield "pretraining text", "33.09 GB, ko:en 7:3, one epoch", here, why
    why = f"'{p['trainable']}', rank {p['lora_rank']}; the embeddings are a larger part of a small model"
    yield "share of trained parameters", "5.977 %", f"{m['trainable_share']:.2%}", why
    base, after = m["bits_per_byte"]["base"], m["bits_per_byte"]["after"]
    for text in TEXTS:
        here = f"{base[text]:.2f} → {after[text]:.2f} ({after[text] / base[text] - 1:+.1%})"
        why = "base model → after pretraining; comparable across vocabularies"
        yield f"bits/byte, {figures.LABELS[text]}", "not measured", here, why


def _instruction_rows(tuned):
    sources = tuned.params["korean_instructions"], tuned.params["english_instructions"]
    authored = f"{sum(tuned.metrics['examples'].values()):,} examples authored for this project stand in for LIMA"
    why = authored if "authored" in str(sources[0]) else f"from {sources[0]} and {sources[1]}"
    yield "instruction examples", "1,030 Korean + 1,030 English (LIMA)", _list_examples(tuned), why


def _score_rows(scored):
    tasks, name = scored.metrics["tasks"].values(), paper_model(scored.recipe)
    theirs = f"{paper_table6()[name]['average']:.1f} ({name})" if name else "not in the paper"
    items = f"{sum(task['items'] for task in tasks)} items of '{scored.params['benchmarks']}'"
    why = f"{scored.params['base_model']} instead of Llama-2-13b-chat; {items}"
    yield f"average of {len(tasks)} tasks, {scored.recipe}", theirs, f"{100 * scored.metrics['average']:.1f}", why


def _preference_rows(judged):
    here, why = "No judge was configured: no verdicts", "set judge_url and judge_model to an OpenAI-compatible server"
    if v := judged.metrics["judge"]:
        here = f"{v['win']} won, {v['tie']} tied, {v['loss']} lost, {v['flips']} undecided (the two orders disagree)"
        here, why = f"{here} of {v['n']}; judge {v['model']}", "another judge, other prompts"
    what = f"preference, {judged.recipe} against {judged.params['compare_with']}"
    yield what, "people and GPT-4, 300 prompts, six models (figures 2 and 3)", here, why


def constant_score(row):
    """A task's score, 0 to 1, for giving one answer to every item; `row` is the task's entry in stage 05's metrics."""
    return row["majority_share"] if row.get("constant") is None else row["constant"]
