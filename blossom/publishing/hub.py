"""What would be pushed to the hub, why it may not be, and the push itself: one commit, all or nothing."""

import fnmatch
from dataclasses import dataclass, field
from pathlib import Path

import huggingface_hub as hub
from huggingface_hub import errors, utils

from blossom.common.runs import read_lineage
from blossom.publishing import card, gguf_file, licences

WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.gguf")


@dataclass
class PushPlan:
    """What a push would do.

    files     name in the repository -> Path, or bytes for what is made for it (the card)
    refusals  why it may not be pushed; empty when it may
    """

    repo: str
    files: dict
    refusals: list = field(default_factory=list)

    def __str__(self):
        sizes = {name: len(f) if isinstance(f, bytes) else f.stat().st_size for name, f in self.files.items()}
        lines = [f"{size / 1e6:12,.3f} MB  {name}" for name, size in sizes.items()]
        lines = [f"to https://huggingface.co/{self.repo}", *lines, f"{sum(sizes.values()) / 1e6:12,.3f} MB  in all"]
        return "\n".join([*lines, *(f"refused: {reason}" for reason in self.refusals)])


def plan_push(folder, repo, told=None, precision=""):
    """The Plan of giving away the model that a run made.

    folder     the run's folder, `outputs/<scale>/<recipe>/<stage>`
    repo       owner/name on the hub
    told       ingredient -> licence, for those this project does not know
    precision  "F32", "F16" or "BF16" makes a GGUF file too (below the run's folder); empty makes none

    Raises ValueError: a name the hub does not take; errors of `read_lineage` and `gguf_file.export_gguf`.
    """
    try:
        utils.validate_repo_id(repo)
    except errors.HFValidationError as error:
        raise ValueError(f"to: {error}") from None
    if repo.count("/") != 1:
        raise ValueError(f"to: expected owner/name, found {repo!r}")
    line = read_lineage(folder)
    model = line[-1].folder / "model"
    refusals = licences.licence_refusals(licences.list_ingredients(line, told))
    files = {str(f.relative_to(model)): f for f in sorted(model.rglob("*")) if f.is_file()}
    strange = [name for name in files if not any(fnmatch.fnmatch(name, pattern) for pattern in WANTED)]
    refusals += [f"model/{name} is no file of a safe model (expected {', '.join(WANTED)})" for name in strange]
    if precision:
        file = line[-1].folder / "gguf" / f"{repo.split('/')[1]}-{precision}.gguf"
        gguf_file.export_gguf(model, file, precision, repo.split("/")[1])
        files[file.name] = file
    return PushPlan(repo, {"README.md": card.write_card(folder, repo, told).content.encode()} | files, refusals)


def push_model(made, public=False, api=None):
    """Push what a Plan lists in one commit to a private repository (or a public one); returns the commit's address.

    api  a `huggingface_hub.HfApi`; None takes the one that `hf auth login` signed in
    Raises ValueError with every reason when the plan is refused; RuntimeError when nobody is signed in.
    """
    if made.refusals:
        raise ValueError(f"{made.repo}: not pushed:\n- " + "\n- ".join(made.refusals))
    api = api or hub.HfApi()
    adds = [hub.CommitOperationAdd(name, str(f) if isinstance(f, Path) else f) for name, f in made.files.items()]
    try:
        api.create_repo(made.repo, private=not public, exist_ok=True)
        return api.create_commit(made.repo, adds, commit_message="Model, card and tokenizer made with Blossom").commit_url
    except errors.LocalTokenNotFoundError:
        raise RuntimeError("nobody is signed in to the hub: make a token that may write, then `hf auth login`") from None
