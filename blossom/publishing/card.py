"""The model card: every figure in it was measured by a finished run and is read from its metrics.json."""

from pathlib import Path

import huggingface_hub as hub

from blossom.assets.registry import REGISTRY
from blossom.common import paths
from blossom.common.runs import read_lineage
from blossom.publishing import licences

TEMPLATE = Path(__file__).with_name("model_card.md")
TEXTS = {
    "korean": "{language}, of the corpus' kind",
    "english": "English, of the corpus' kind",
    "general_korean": "{language}, general prose",
    "general_english": "English, general prose",
}


def write_card(folder, name, told=None):
    """The card of the model that a run made, as a `huggingface_hub.ModelCard` (`.content` is its text).

    folder  the run's folder;  name  what the model is called, as owner/name
    told    ingredient -> licence, for those this project does not know

    Scores come from stage 05 of the same recipe, when it has run. Errors as in `read_lineage`.
    """
    line = read_lineage(folder)
    made = line[-1]
    found = licences.list_ingredients(line, told)
    licence, asks = licences.model_licence(found)
    language = made.params.get("language", "Korean")
    scored = _scored(made)
    data = hub.ModelCardData(
        model_name=name.split("/")[-1],
        language=[_code(language), "en"],
        license=licence,
        license_name="see below" if licence == "other" else None,
        base_model=_hub_id(found[0].name),
        datasets=[_hub_id(i.name) for i in found if i.name.startswith("hub:")] or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["blossom", "vocabulary-expansion"],
        eval_results=[_result(task, row, scored) for task, row in (scored or {"tasks": {}})["tasks"].items()] or None,
    )
    return hub.ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        name=name,
        language=language,
        made=made,
        line=line,
        found=found,
        asks=asks,
        bits=_bits(line, language),
        scored=scored,
        limits=list_limits(line, scored, language),
        chat="template" in made.metrics,
    )


def _code(language):
    """The two-letter code of a language's English name. Example: "Korean" -> "ko"."""
    from babel import Locale

    codes = {english: code for code, english in Locale("en").languages.items()}
    return codes.get(language, language.lower())


def _hub_id(name):
    known = REGISTRY.get(name)
    return known.hub_id or name if known else name.removeprefix("hub:").split(":")[0].split("@")[0]


def _scored(made):
    """Stage 05's metrics of the model's recipe when that run read this very model; None when it has not run."""
    folder = made.folder.parent / "05_benchmark_eval"
    if not (folder / "manifest.json").exists():
        return None
    inputs = paths.read_json(folder / "manifest.json")["inputs"].values()
    return paths.read_json(folder / "metrics.json") if made.manifest["outputs"]["model"] in inputs else None


def _result(task, row, scored):
    where = "authored for this project" if scored["benchmarks"] == "authored" else scored["benchmarks"]
    return hub.EvalResult(
        task_type="text-generation",
        task_name=f"{row['shots']}-shot, lm-eval {row['version']}, prompt {row['prompt_hash']}",
        dataset_type=row["origin"].split(":")[0],
        dataset_name=f"{task} ({row['items']} items, {where})",
        metric_type=row["metric"],
        metric_name=f"{row['metric']} ± {100 * row['stderr']:.1f}",
        metric_value=round(100 * row["score"], 2),
    )


def _bits(line, language):
    """Rows (text, base, this model) of bits/byte; None where a run did not measure it."""
    base = next((made.metrics["bits_per_byte"].get("base") for made in line if "base" in made.metrics["bits_per_byte"]), {})
    last = line[-1].metrics["bits_per_byte"]
    last = last.get("after", last)
    return [(label.format(language=language), base.get(text), last.get(text)) for text, label in TEXTS.items()]


def list_limits(line, scored, language):
    """What the model is known to be bad at, or is not known to be good at: sentences, from what was measured."""
    made, said = line[-1], []
    trained = [m for m in line if m.stage == "03_bilingual_pretraining"]
    if trained:
        tokens = sum(trained[-1].metrics["tokens"].values())
        said.append(f"What it knows beyond its base it has from {tokens:,} tokens of text.")
        if never := trained[-1].metrics.get("rows_never_read"):
            said.append(f"{never:,} of its new tokens never came in training: text that needs them is written badly.")
    for text, before, after in _bits(line, language):
        if before and after and after > before:
            said.append(f"{text}: {after / before - 1:.1%} more bits per byte than the base. It reads such text worse.")
    if scored:
        near = [t for t, row in scored["tasks"].items() if abs(row["score"] - _constant(row)) <= 2 * row["stderr"]]
        if near:
            said.append(
                f"{len(near)} of {len(scored['tasks'])} scores lie within two standard errors of always giving one answer "
                f"and show nothing: {', '.join(near)}."
            )
        if scored["benchmarks"] == "authored":
            said.append("Its scores are on small sets authored for the project, not on the public benchmarks.")
    else:
        said.append("No benchmark has been run on it.")
    answers = made.folder.parent / "06_qualitative_eval" / "metrics.json"
    if not answers.exists() or not paths.read_json(answers).get("judge"):
        said.append("No judge has compared its answers with another model's.")
    return [*said, "It was not tested for false, harmful or biased answers, nor tuned against them."]


def _constant(row):
    return row["majority_share"] if row.get("constant") is None else row["constant"]
