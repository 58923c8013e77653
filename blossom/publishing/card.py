"""The model card, written from the metrics of finished runs."""

from pathlib import Path

import huggingface_hub
from babel import Locale

from blossom.assets.registry import REGISTRY
from blossom.common import paths
from blossom.common.runs import read_lineage, read_run
from blossom.publishing import licences
from blossom.report.tables import JUDGED, SCORED, TRAINED, constant_score
from blossom.text.hub import parse_hub

TEMPLATE = Path(__file__).with_name("model_card.md")
TEXTS = {
    "korean": "{language}, text like the corpus",
    "english": "English, text like the corpus",
    "general_korean": "{language}, general prose",
    "general_english": "English, general prose",
}


def write_card(folder, name, known=None):
    """Write the card of the model in a run's folder: a `huggingface_hub.ModelCard`, whose text is `.content`.

    name   owner/name of the model on the hub
    known  {ingredient: licence} for ingredients whose licence this project does not know
    """
    line = read_lineage(folder)
    made, found = line[-1], licences.list_ingredients(line, known)
    licence, terms = licences.model_licence(found)
    language, scored = made.params.get("language", "Korean"), _read_scores(made)
    codes = {english: code for code, english in Locale("en").languages.items()}
    base, tasks = found[0].name, scored["tasks"] if scored else {}
    results = [_evaluation_result(task, row, scored["benchmarks"]) for task, row in tasks.items()]
    data = huggingface_hub.ModelCardData(
        model_name=name.split("/")[-1],
        language=[codes.get(language, language.lower()), "en"],
        license=licence,
        license_name="see below" if licence == "other" else None,
        base_model=REGISTRY[base].hub_id or base if base in REGISTRY else parse_hub(base).name,
        datasets=[parse_hub(i.name).name for i in found if i.name.startswith("hub:")] or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["blossom", "vocabulary-expansion"],
        eval_results=results or None,
    )
    bits = _compare_bits(line, language)
    words = {"made": made, "line": line, "found": found, "asks": terms, "bits": bits, "scored": scored, "language": language}
    words |= {"name": name, "limits": _list_limits(line, bits, scored), "chat": "template" in made.metrics}
    return huggingface_hub.ModelCard.from_template(data, template_path=str(TEMPLATE), **words)


def _read_scores(made):
    """Stage 05's metrics of the same recipe, if it scored this very model; else None."""
    folder = made.folder.parent / SCORED
    scored = read_run(folder) if (folder / "manifest.json").exists() else None
    return scored.metrics if scored and made.manifest["outputs"]["model"] in scored.manifest["inputs"].values() else None


def _evaluation_result(task, row, benchmarks):
    where = "authored for this project" if benchmarks == "authored" else benchmarks
    is_hub = row["origin"].startswith("hub:")
    return huggingface_hub.EvalResult(
        task_type="text-generation",
        task_name=f"{row['shots']}-shot, lm-eval {row['version']}, prompt {row['prompt_hash']}",
        dataset_type=parse_hub(row["origin"]).name if is_hub else row["origin"],
        dataset_config=task,  # results of equal type and config become one entry of the model index
        dataset_split=parse_hub(row["origin"]).split if is_hub else None,
        dataset_name=f"{task} ({row['items']} items, {where})",
        metric_type=row["metric"],
        metric_name=f"{row['metric']} ± {100 * row['stderr']:.1f}",
        metric_value=round(100 * row["score"], 2),
    )


def _compare_bits(line, language):
    """Rows (text, base, this model) of bits/byte; None where a run did not measure it."""
    measured = [run.metrics["bits_per_byte"] for run in line]
    base = next((bits["base"] for bits in measured if "base" in bits), {})
    last = measured[-1].get("after", measured[-1])
    return [(label.format(language=language), base.get(text), last.get(text)) for text, label in TEXTS.items()]


def _list_limits(line, bits, scored):
    made, limits = line[-1], []
    if trained := [run.metrics for run in line if run.stage == TRAINED]:
        limits.append(f"It was pretrained on {sum(trained[-1]['tokens'].values()):,} tokens of text beyond its base.")
        if unseen := trained[-1].get("rows_never_read"):
            limits.append(f"{unseen:,} of its new tokens never occurred in training; it writes badly where they are needed.")
    for text, before, after in bits:
        if before and after and after > before:
            limits.append(f"{text}: it needs {after / before - 1:.1%} more bits per byte than the base.")
    if scored:
        rows = scored["tasks"].items()
        near = [task for task, row in rows if abs(row["score"] - constant_score(row)) <= 2 * row["stderr"]]
        if near:
            count = f"{len(near)} of {len(rows)} scores are within two standard errors of always giving one answer"
            limits.append(f"{count} and show nothing: {', '.join(near)}.")
        if scored["benchmarks"] == "authored":
            limits.append("Its scores are on small sets authored for the project, not on the public benchmarks.")
    else:
        limits.append("No benchmark has been run on it.")
    answers = made.folder.parent / JUDGED / "metrics.json"
    if not answers.exists() or not paths.read_json(answers).get("judge"):
        limits.append("No judge has compared its answers with another model's.")
    return [*limits, "It was not tested for false, harmful or biased answers, nor tuned against them."]
