"""The model card, written from the metrics of finished runs."""

import os
from pathlib import Path

import huggingface_hub
from babel import Locale

from blossom.assets.registry import REGISTRY
from blossom.common import paths, runs, stages
from blossom.publishing import licences
from blossom.report.tables import constant_score
from blossom.text.hub import parse_hub

AUTHORED = "data/benchmarks/"  # where the origins of the project's own benchmarks begin
TEMPLATE = Path(__file__).with_name("model_card.md")


def write_card(line, name, known=None):
    """Write the card of the model that the runs of `read_lineage` made: a `huggingface_hub.ModelCard` with text `.content`.

    name   owner/name of the model on the hub
    known  {ingredient: licence} for ingredients whose licence this project does not know
    """
    made, found = line[-1], licences.list_ingredients(line, known)
    (licence, terms), language = licences.model_licence(found), made.params.get("language", "Korean")
    scored, judged = (_read_later(made, stage) for stage in (stages.SCORED, stages.JUDGED))
    codes = {english: code.split("_")[0] for code, english in Locale("en").languages.items()}
    base, tasks = found[0].name, scored["tasks"] | scored.get("probes", {}) if scored else {}
    local = (paths.ROOT / os.path.expanduser(base)).exists()  # which names nothing on the hub
    data = huggingface_hub.ModelCardData(
        model_name=name.split("/")[-1],
        language=[*filter(None, [codes.get(language)]), "en"],
        license=licence,
        license_name="see below" if licence == "other" else None,
        base_model=REGISTRY[base].hub_id or base if base in REGISTRY else None if local else parse_hub(base).name,
        datasets=[parse_hub(i.name).name for i in found if i.name.startswith("hub:")] or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["blossom", "vocabulary-expansion"],
        eval_results=[_evaluation_result(task, row, scored["benchmarks"]) for task, row in tasks.items()] or None,
    )
    trained, bits = [run.metrics for run in line if run.stage == stages.TRAINED], made.metrics["bits_per_byte"]
    words = {"name": name, "language": language, "made": made, "line": line, "found": found, "asks": terms, "tasks": tasks}
    words |= {"trained": trained, "tokens": sum(sum(metrics["tokens"].values()) for metrics in trained)}
    words |= {"constant": constant_score, "judged": judged and judged["preference"]}
    words |= {"before": _find_base_bits(line), "after": bits.get("after", bits)}
    words["near"] = [t for t, row in tasks.items() if abs(row["score"] - constant_score(row)) <= 2 * row["stderr"]]
    words["authored"] = [task for task, row in tasks.items() if row["origin"].startswith(AUTHORED)]
    return huggingface_hub.ModelCard.from_template(data, template_path=str(TEMPLATE), **words)


def _read_later(made, stage):
    """The metrics of a later stage of the same recipe, if it read this very model; else None."""
    folder = made.folder.parent / stage
    later = runs.read_run(folder) if (folder / "manifest.json").exists() else None
    return later.metrics if later and made.manifest["outputs"]["model"] in later.manifest["inputs"].values() else None


def _find_base_bits(line):
    """The base's bits per byte from a run that measured the same lines as the last of `line`; {} where none did."""
    last, read = line[-1], line[-1].manifest["inputs"]
    for run in line:
        same = all(run.params.get(name) == last.params.get(name) for name in stages.MEASURED)
        same = same and all(read.get(name, digest) == digest for name, digest in run.manifest["inputs"].items())
        if same and "base" in run.metrics["bits_per_byte"]:
            return run.metrics["bits_per_byte"]["base"]
    return {}


def _evaluation_result(task, row, benchmarks):
    is_hub, authored = (row["origin"].startswith(start) for start in ("hub:", AUTHORED))
    where = "authored for this project" if authored else benchmarks
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
