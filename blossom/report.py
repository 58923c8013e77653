"""The report: what the papers say, what this run measured, why they differ; from the run folders alone."""

import base64
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import yaml
from jinja2 import Environment, FileSystemLoader

from blossom import benchmark, figures, params, paths

PAPER_ROW = {  # recipe -> the row of table 6 it stands beside
    "base": "Llama2",
    "base-koSFT": "Llama2-koSFT",
    "base-ko": "Llama2-ko",
    "blossom-ko": "Blossom-ko",
    "blossom-bi": "Blossom-bi",
    "blossom-bi-koSFT": "Blossom-bi-koSFT",
    "blossom-bi-biSFT": "Blossom-bi-biSFT",
}
TEXTS = ("korean", "english", "general_korean", "general_english")


@dataclass(frozen=True)
class Stage:
    """A finished run of a stage, as its folder tells it."""

    recipe: str
    name: str
    folder: Path
    params: dict
    metrics: dict
    manifest: dict


@dataclass
class Section:
    """A part of the report's page: paragraphs, tables (HTML), pictures (caption, base64 PNG), links."""

    heading: str
    prose: list = field(default_factory=list)
    tables: list = field(default_factory=list)
    figures: list = field(default_factory=list)
    links: list = field(default_factory=list)


def load(p):
    """(recipe, stage) -> Stage, for every stage of the report's recipes, in the order they ran.

    p  params.Report
    Raises RuntimeError when a stage cannot be made, ValueError when a folder was edited after its run.
    """
    runs = {}
    for recipe in p.recipes:
        for stage in params.recipe(recipe).stages:
            folder = paths.require_stage(p.outputs, p.scale, recipe, stage)
            manifest = paths.read_json(folder / "manifest.json")
            for name in ("metrics.json", "params.yaml"):
                if paths.sha256(folder / name) != manifest["outputs"][name]:
                    raise ValueError(
                        f"{folder / name} was changed after its run (its sha256 is not the manifest's): run it again"
                    )
            settings = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
            runs[recipe, stage] = Stage(recipe, stage, folder, settings, paths.read_json(folder / "metrics.json"), manifest)
    return runs


def find(runs, stage, recipe=None):
    """The Stage of a recipe, or of the last recipe that has it; None when no recipe has."""
    found = [run for (r, s), run in runs.items() if s == stage and recipe in (None, r)]
    return found[-1] if found else None


def costs(runs):
    """What each stage took: seconds of wall time, peak memory (GB). One row a run."""
    rows = [
        {
            "recipe": run.recipe,
            "stage": run.name,
            "wall time (s)": run.manifest["wall_seconds"],
            "peak memory (GB)": round(run.manifest["peak_bytes"] / 1e9, 2),
        }
        for run in runs.values()
    ]
    return pd.DataFrame(rows)


def bits(runs):
    """Bits/byte of the four held-out texts, one row a model: the base, then each recipe that trained one."""
    rows = {}
    pretrained = find(runs, "03_bilingual_pretraining")
    if pretrained:
        rows["base"] = pretrained.metrics["bits_per_byte"]["base"]
    for (recipe, stage), run in runs.items():
        if stage in ("03_bilingual_pretraining", "04_korean_lima_sft"):
            rows[recipe] = run.metrics["bits_per_byte"]["after"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(TEXTS))
    return table.rename(columns=figures.LABELS).rename_axis("recipe")


def scores(runs, with_paper=True):
    """Table 6: a row a model, score ± standard error a task, with the paper's rows and chance beside.

    Scores in percent. Chance is the share of the commonest label of the items that were scored.
    """
    scored = {r: run.metrics for (r, s), run in runs.items() if s == "05_benchmark_eval"}
    paper = benchmark.paper_table6()
    rows, chance = [], {}
    for recipe, measured in scored.items():
        row = {"model": recipe, "source": "this run"}
        for task, result in measured["tasks"].items():
            row[task] = f"{100 * result['score']:.1f} ± {100 * result['stderr']:.1f}"
            chance[task] = f"{100 * result['majority_share']:.1f}"
        rows.append(row | {"average": f"{100 * measured['average']:.1f}"})
        name = PAPER_ROW.get(recipe)
        if with_paper and name:
            rows.append({"model": f"{name} (13B)", "source": "the paper"} | {k: f"{v:.1f}" for k, v in paper[name].items()})
    rows.append({"model": "commonest label", "source": "this run's items"} | chance)
    return pd.DataFrame(rows).fillna("")


def answers(runs):
    """Stage 06 in a table: a row a model and language. Empty when no recipe has the stage."""
    run = find(runs, "06_qualitative_eval")
    rows = [
        {"model": model, "language": language} | {k.replace("_", " "): round(v, 3) for k, v in measures.items()}
        for model, languages in (run.metrics["models"].items() if run else ())
        for language, measures in languages.items()
    ]
    return pd.DataFrame(rows)


def comparison(runs):
    """The report's first table: what | paper value | this run | why they differ. A row for each thing measured here."""
    rows = []

    def add(what, paper, ours, why):
        rows.append({"what": what, "the paper": paper, "this run": ours, "why they differ": why})

    merged, trained = find(runs, "02_vocab_merge"), find(runs, "03_bilingual_pretraining")
    tuned, judged = find(runs, "04_korean_lima_sft"), find(runs, "06_qualitative_eval")
    if merged:
        _vocabulary_rows(add, merged)
    if trained:
        _pretraining_rows(add, trained)
    if tuned:
        count = sum(tuned.metrics["examples"].values())
        add(
            "instruction examples",
            "1,030 Korean + 1,030 English (LIMA)",
            " + ".join(f"{n:,} {k}" for k, n in tuned.metrics["examples"].items()),
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
    add(
        "vocabulary",
        "32,000 + 7,478 = 39,478 (Llama2 + KoBERT)",
        f"{m['base_vocabulary']:,} + {m['added']:,} = {m['vocabulary']:,}",
        f"base {p['base_model']}, donor '{p['donor']}'",
    )
    add(
        "added pieces that can never be produced",
        "1,131 of 7,478 (counted on the real files; not in the paper)",
        f"{m['unreachable']:,} of {m['added']:,}",
        f"unreachable pieces: '{p['unreachable']}'",
    )
    fewer = 1 - m["korean_tokens_after"] / m["korean_tokens_before"]
    add(
        "tokens for the same Korean",
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
        f"{total:,} tokens, {m['korean_share_realised']:.1%} Korean",
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
    paper = benchmark.paper_table6()
    for (recipe, stage), run in runs.items():
        if stage == "05_benchmark_eval":
            items = sum(t["items"] for t in run.metrics["tasks"].values())
            name = PAPER_ROW.get(recipe)
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
        ours = f"{verdict['win']} won, {verdict['tie']} tied, {verdict['loss']} lost of {verdict['n']} ({verdict['model']})"
    add(
        f"preference, {judged.recipe} against {judged.params['compare_with']}",
        "people and GPT-4, 300 prompts, six models (figures 2 and 3)",
        ours,
        "set judge_url and judge_model to an OpenAI-compatible server" if not verdict else "another judge, other prompts",
    )


def plot_bits(runs):
    """Grouped bars of bits/byte by recipe: lower is better."""
    table = bits(runs)
    long = table.reset_index().melt("recipe", var_name="text", value_name="bits/byte")
    colours = {figures.LABELS[t]: figures.COLOURS[t] for t in TEXTS}
    figure, axis = plt.subplots(figsize=figures.WIDE)
    sns.barplot(long, x="recipe", y="bits/byte", hue="text", palette=colours, ax=axis)
    for bars in axis.containers:
        axis.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    korean, english = figures.LABELS["korean"], figures.LABELS["general_english"]
    last, first = table.iloc[-1], table.iloc[0]
    axis.set_title(
        f"Korean {first[korean]:.2f} → {last[korean]:.2f} bits/byte, "
        f"general English {first[english]:.2f} → {last[english]:.2f}"
    )
    axis.set(xlabel="", ylabel="bits/byte (lower is better)")
    axis.legend(title="", loc="upper right", ncols=2)
    axis.set_ylim(0, long["bits/byte"].max() * 1.3)
    return figure


def plot_scores(runs):
    """Points with standard errors by task, one colour a recipe, chance as a grey tick."""
    scored = {r: run.metrics["tasks"] for (r, s), run in runs.items() if s == "05_benchmark_eval"}
    tasks = list(next(iter(scored.values())))
    palette = dict(zip(scored, sns.color_palette("colorblind", len(scored)), strict=True))
    figure, axis = plt.subplots(figsize=figures.WIDE)
    for shift, (recipe, results) in enumerate(scored.items()):
        places = [i + (shift - (len(scored) - 1) / 2) * 0.2 for i in range(len(tasks))]
        values, errors = ([100 * results[t][k] for t in tasks] for k in ("score", "stderr"))
        axis.errorbar(places, values, errors, fmt="o", color=palette[recipe], label=recipe, capsize=2)
    chance = [100 * next(iter(scored.values()))[t]["majority_share"] for t in tasks]
    axis.hlines(chance, [i - 0.4 for i in range(len(tasks))], [i + 0.4 for i in range(len(tasks))], "#8C8C8C", "dashed")
    axis.plot([], [], "--", color="#8C8C8C", label="commonest label")
    axis.set_xticks(range(len(tasks)), [t.replace("_", "\n") for t in tasks], fontsize=9)
    near = sum(
        abs(row["score"] - row["majority_share"]) <= 2 * row["stderr"] for rows in scored.values() for row in rows.values()
    )
    axis.set(xlabel="", ylabel="score (%), ± 1 standard error", ylim=(0, 100))
    axis.set_title(f"{near} of {len(scored) * len(tasks)} scores lie within two standard errors of the commonest label")
    axis.legend(loc="upper center", ncols=4, fontsize=9)
    return figure


def plot_costs(runs):
    """Wall time of every stage, longest first, with its peak memory written beside."""
    table = costs(runs)
    table["run"] = table["recipe"] + " · " + table["stage"].str[:2] + " " + table["stage"].str[3:].str.replace("_", " ")
    figure, axis = plt.subplots(figsize=(8, 0.36 * len(table) + 1.2))
    sns.barplot(table, y="run", x="wall time (s)", color=figures.COLOURS["ours"], ax=axis)
    labels = [f"{s:.0f} s, {g:.1f} GB" for s, g in zip(table["wall time (s)"], table["peak memory (GB)"], strict=True)]
    axis.bar_label(axis.containers[0], labels, fontsize=8, padding=3)
    axis.set_xlim(0, table["wall time (s)"].max() * 1.2)
    total, peak = table["wall time (s)"].sum(), table["peak memory (GB)"].max()
    axis.set(ylabel="")
    axis.set_title(f"{total / 60:.1f} minutes in all, {peak:.1f} GB at the most")
    return figure


def html_table(table, paper_rows=False):
    """A DataFrame as an HTML table, everything escaped; rows whose `source` is the paper are marked."""
    html = table.to_html(index=False, escape=True, border=0)
    if paper_rows:
        body = html.split("<tbody>")
        rows = ['<tr class="paper">' + r if "<td>the paper</td>" in r else "<tr>" + r for r in body[1].split("<tr>")[1:]]
        html = body[0] + "<tbody>" + "".join(rows)
    return html


def picture(file, caption):
    """A PNG file as the page embeds it."""
    return {"caption": caption, "data": base64.b64encode(Path(file).read_bytes()).decode()}


def gallery(runs):
    """A Section for each stage's own figures, with links to the executed notebooks (relative to outputs/<scale>)."""
    shown, links = [], []
    for run in runs.values():
        links.append({"href": f"{run.recipe}/{run.name}/notebook.ipynb", "text": f"{run.recipe} · {run.name}"})
        for file in sorted((run.folder / "figures").glob("*.png")):
            shown.append(picture(file, f"{run.recipe}, {run.name}: {file.stem.replace('_', ' ')}"))
    return Section("Every figure of the run", figures=shown), Section("The executed notebooks", links=links)


def page(title, subtitle, sections):
    """The report as one self-contained HTML page (str); every text is escaped."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent / "pages"), autoescape=True)
    return environment.get_template("report.html").render(title=title, subtitle=subtitle, sections=sections)
