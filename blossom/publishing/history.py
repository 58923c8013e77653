"""The runs that made a model, from the base to the run that is to be given away."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from blossom.common import params, paths


@dataclass(frozen=True)
class Made:
    """One finished run of a stage that made a model."""

    folder: Path
    stage: str
    recipe: str
    params: dict
    metrics: dict
    manifest: dict


def read(folder):
    """The runs behind a model, oldest first; the last is the one in `folder`.

    folder  `outputs/<scale>/<recipe>/<stage>` with a model in it

    Raises ValueError: no finished run there, or one that makes no model; RuntimeError: a manifest that no longer holds
    (what was edited is named), or a parent that was made again after its child.
    """
    folder = Path(folder).resolve()
    last = _made(folder)
    line, (scale, outputs) = [last], (last.manifest["scale"], folder.parents[2])
    while start := params.starting_stage(line[0].recipe, line[0].stage):
        line.insert(0, _made(outputs / scale / start[0] / start[1]))
    _check(last, last.manifest["outputs"])
    for parent, child in zip(line, line[1:], strict=False):
        _check(parent, ("params.yaml", "metrics.json"))
        if parent.manifest["outputs"]["model"] not in child.manifest["inputs"].values():
            raise RuntimeError(
                f"{child.folder} was not made from the model that is now in {parent.folder}: run {child.stage} of "
                f"{child.recipe} again"
            )
    return line


def _made(folder):
    if not (folder / "manifest.json").exists():
        raise ValueError(f"{folder}: no finished run there (expected a manifest.json)")
    manifest = paths.read_json(folder / "manifest.json")
    if "model" not in manifest["outputs"]:
        makers = ", ".join(params.MODEL_STAGES)
        raise ValueError(f"{folder}: stage {manifest['stage']} makes no model; expected one of {makers}")
    for name in ("params.yaml", "metrics.json"):
        if not (folder / name).exists():
            raise RuntimeError(f"{folder}: its manifest no longer holds: {name} is gone. Run it again")
    settings = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    metrics = paths.read_json(folder / "metrics.json")
    return Made(folder, manifest["stage"], manifest["recipe"], settings, metrics, manifest)


def _check(made, names):
    """Raise RuntimeError for outputs that are gone or not those of the manifest."""
    wrong = []
    for name in names:
        path = made.folder / name
        if not path.exists():
            wrong.append(f"{name} is gone")
        elif paths.sha256(path) != made.manifest["outputs"][name]:
            wrong.append(f"{name} was changed")
    if wrong:
        raise RuntimeError(f"{made.folder}: its manifest no longer holds: {', '.join(wrong)} after the run. Run it again")
