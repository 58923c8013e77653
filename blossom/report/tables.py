"""The report's tables: what the papers say, what this run measured, why they differ."""

import pandas as pd

from blossom.benchmark.papers import paper_model, paper_table6, read_papers
from blossom.common import figures, params, stages
from blossom.common.runs import find_run

MAIN = "blossom-bi-biSFT"  # the model that the paper ends with
TEXTS = ("korean", "english", "general_korean", "general_english")


def tabulate_costs(runs):
    """What each stage took: seconds of wall time, peak memory (GB). One row a run; linked ones took no time of their own."""
    rows = [
        {
            "recipe": run.recipe,
            "stage": run.stage,
            "wall time (s)": run.manifest["wall_seconds"],
            "peak memory (GB)": round(run.manifest["peak_bytes"] / 1e9, 2),
        }
        for run in runs.values()
        if run.recipe == run.manifest["recipe"]
    ]
    return pd.DataFrame(rows)


def tabulate_bits(runs):
    """Bits/byte of the four held-out texts, one row a model: the base, then each recipe that trained one.

    Empty when none did; without the base's row when no run measured it.
    """
    trainers = ("03_bilingual_pretraining", "04_korean_lima_sft")
    trained = {key: run.metrics["bits_per_byte"] for key, run in runs.items() if key[1] in trainers}
    base = [m["base"] for m in trained.values() if "base" in m]
    base += [m["before"] for key, m in trained.items() if not params.starting_stage(*key)]
    rows = ({"base": base[0]} if base else {}) | {recipe: m["after"] for (recipe, _), m in trained.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(TEXTS))
    return table.rename(columns=figures.LABELS).rename_axis("recipe")


def tabulate_scores(runs):
    """Table 6: a row a model, score ± standard error a task, with the paper's rows and chance beside.

    Scores in percent. Chance is the share of the commonest label of the items that were scored.
    """
    scored = {r: run.metrics for (r, s), run in runs.items() if s == "05_benchmark_eval"}
    paper = paper_table6()
    rows, chance = [], {}
    for recipe, measured in scored.items():
        row = {"model": recipe, "source": "this run"}
        for task, result in measured["tasks"].items():
            row[task] = f"{100 * result['score']:.1f} ± {100 * result['stderr']:.1f}"
            chance[task] = f"{100 * result['majority_share']:.1f}"
        rows.append(row | {"average": f"{100 * measured['average']:.1f}"})
        name = paper_model(recipe)
        if name:
            rows.append({"model": f"{name} (13B)", "source": "the paper"} | {k: f"{v:.1f}" for k, v in paper[name].items()})
    rows.append({"model": "commonest label", "source": "this run's items"} | chance)
    labels = read_papers()["bllossom"]["table6"]["labels"] | {"average": "AVG"}
    return pd.DataFrame(rows).fillna("").rename(columns=labels)


def tabulate_answers(runs):
    """Stage 06 in a table: a row a model and language. Empty when no recipe has the stage."""
    models = {}
    for (_, stage), run in runs.items():
        models |= run.metrics["models"] if stage == "06_qualitative_eval" else {}
    rows = [
        {"model": model, "language": language} | {k.replace("_", " "): round(v, 3) for k, v in measures.items()}
        for model, languages in models.items()
        for language, measures in languages.items()
    ]
    return pd.DataFrame(rows)


def tabulate_recipes(runs):
    """Table 4: what each recipe is made of, in this run's amounts; a row a recipe, with the paper's model it stands for."""
    rows = []
    for recipe in dict.fromkeys(r for r, _ in runs):
        merged, trained, tuned = (find_run(runs, stage, recipe, inherited=True) for stage in stages.MODEL_STAGES)
        row = {"recipe": recipe, "the paper's model": paper_model(recipe) or "–"}
        row["vocabulary"] = f"{merged.metrics['vocabulary']:,} (+{merged.metrics['added']:,})" if merged else "the base's"
        row |= _read_text(trained)
        examples = tuned.metrics["examples"].items() if tuned else ()
        row["instructions"] = " + ".join(f"{n:,} {k}" for k, n in examples if n) or "–"
        own = [run.manifest["wall_seconds"] for (r, s), run in runs.items() if r == recipe and s in stages.MODEL_STAGES]
        rows.append(row | {"training (s)": f"{sum(own):.0f}" if own else "–"})
    return pd.DataFrame(rows)


def _read_text(trained):
    """Tokens and text of a pretraining (None: "–"), as table 4 shows them."""
    names = ("pretraining tokens", f"{figures.language_name()} text", "English text")
    if trained is None:
        return dict.fromkeys(names, "–")
    size = text_megabytes(trained)
    told = [f"{1000 * size[k]:.0f} KB" if size[k] < 1000 else f"{size[k] / 1000:.1f} GB" for k in ("korean", "english")]
    return dict(zip(names, [f"{sum(trained.metrics['tokens'].values()):,}", *told], strict=True))


def text_megabytes(trained):
    """Megabytes of text that a pretraining read, by language."""
    size = {"korean": 0.0, "english": 0.0}
    for row in trained.metrics["table3"]:
        size["korean" if row["source"].startswith("korean") else "english"] += row["megabytes"] * row["epochs"]
    return size


def tabulate_expansion(runs):
    """Vocabulary expansion at equal tokens and at equal text: a row a recipe; empty unless both kinds are there."""
    rows = []
    for recipe in ("base-ko", "blossom-ko", "blossom-ko-text"):
        trained, scored = runs.get((recipe, "03_bilingual_pretraining")), runs.get((recipe, "05_benchmark_eval"))
        if trained and scored:
            bits = trained.metrics["bits_per_byte"]["after"]
            row = {"recipe": recipe} | _read_text(trained) | {"seconds": f"{trained.metrics['seconds']:.0f}"}
            row |= {f"bits/byte, {figures.LABELS[t]}": f"{bits[t]:.3f}" for t in TEXTS}
            rows.append(row | {"average of table 6": f"{100 * scored.metrics['average']:.1f}"})
    return pd.DataFrame(rows) if len(rows) > 1 else pd.DataFrame()


def compare_with_paper(runs):
    """The report's first table: what | paper value | this run | why they differ. A row for each thing measured here."""
    rows = []

    def add(what, paper, ours, why):
        rows.append({"what": what, "the paper": paper, "this run": ours, "why they differ": why})

    last = MAIN if any(recipe == MAIN for recipe, _ in runs) else list(runs)[-1][0]
    merged, trained, tuned = (
        find_run(runs, stage, last, inherited=True) or find_run(runs, stage) for stage in stages.MODEL_STAGES
    )
    judged = find_run(runs, "06_qualitative_eval", last)
    if merged:
        _vocabulary_rows(add, merged)
    if trained:
        _pretraining_rows(add, trained)
    if tuned:
        count = sum(tuned.metrics["examples"].values())
        add(
            "instruction examples",
            "1,030 Korean + 1,030 English (LIMA)",
            " + ".join(f"{n:,} {k}" for k, n in tuned.metrics["examples"].items() if n),
            f"{count:,} examples authored for this project stand in for LIMA"
            if "authored" in str(tuned.params["korean_instructions"])
            else f"from {tuned.params['korean_instructions']} and {tuned.params['english_instructions']}",
        )
    _score_rows(add, runs)
    if judged:
        _preference_row(add, judged)
    return pd.DataFrame(rows)


def _vocabulary_rows(add, merged):
    m, p = merged.metrics, merged.params
    counted = (m.get("paper_merge") or {}).get("the paper's")  # where the run had the paper's own files
    add(
        "vocabulary",
        "32,000 + 7,478 = 39,478 (Llama2 + KoBERT)",
        f"{m['base_vocabulary']:,} + {m['added']:,} = {m['vocabulary']:,}",
        f"base {p['base_model']}, donor '{p['donor']}'",
    )
    add(
        "added pieces that can never be produced",
        f"{counted['unreachable']:,} of {counted['new']:,} (02's count on its files)" if counted else "not in the paper",
        f"{m['unreachable']:,} of {m['added']:,}",
        f"unreachable pieces: '{p['unreachable']}'",
    )
    fewer = 1 - m["korean_tokens_after"] / m["korean_tokens_before"]
    add(
        f"tokens for the same {figures.language_name()}",
        "21 pieces become 9 (table 1's sentence)",
        f"{m['korean_tokens_before']:,} become {m['korean_tokens_after']:,} ({fewer:.0%} fewer)",
        "held-out lines of the corpus, instead of one sentence",
    )


def _pretraining_rows(add, trained):
    m, p = trained.metrics, trained.params
    total = sum(m["tokens"].values())
    add(
        "pretraining text",
        "33.09 GB, ko:en 7:3, one epoch",
        f"{total:,} tokens, {m['korean_share_realised']:.1%} {figures.language_name()}",
        f"scale {p['scale']}: {m['seconds']:.0f} s at {m['tokens_per_second']:.0f} tokens/s",
    )
    add(
        "share of the parameters that learn",
        "5.977 %",
        f"{m['trainable_share']:.2%}",
        f"'{p['trainable']}', rank {p['lora_rank']}; a small model's embeddings are a large part of it",
    )
    base, after = m["bits_per_byte"]["base"], m["bits_per_byte"]["after"]
    for text in TEXTS:
        add(
            f"bits/byte, {figures.LABELS[text]}",
            "not measured",
            f"{base[text]:.2f} → {after[text]:.2f} ({after[text] / base[text] - 1:+.1%})",
            "base model → after pretraining; comparable across vocabularies",
        )


def _score_rows(add, runs):
    paper = paper_table6()
    for (recipe, stage), run in runs.items():
        if stage == "05_benchmark_eval":
            items = sum(t["items"] for t in run.metrics["tasks"].values())
            name = paper_model(recipe)
            add(
                f"average of {len(run.metrics['tasks'])} tasks, {recipe}",
                f"{paper[name]['average']:.1f} ({name})" if name else "not in the paper",
                f"{100 * run.metrics['average']:.1f}",
                f"{run.params['base_model']} instead of Llama-2-13b-chat; {items} items of '{run.params['benchmarks']}'",
            )


def _preference_row(add, judged):
    verdict = judged.metrics["judge"]
    ours = "No judge was configured: no verdicts"
    if verdict:
        ours = f"{verdict['win']} won, {verdict['tie']} tied, {verdict['loss']} lost, {verdict['flips']} undecided (the two "
        ours += f"orders disagree) of {verdict['n']}; judge {verdict['model']}"
    add(
        f"preference, {judged.recipe} against {judged.params['compare_with']}",
        "people and GPT-4, 300 prompts, six models (figures 2 and 3)",
        ours,
        "set judge_url and judge_model to an OpenAI-compatible server" if not verdict else "another judge, other prompts",
    )
