"""The plan of a push to the hub, with the reasons against it, and the push itself in one commit."""

from dataclasses import dataclass, field
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors, utils

from blossom.common.runs import read_lineage
from blossom.publishing import card, gguf_file, licences

WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.gguf")


@dataclass
class PushPlan:
    """The files of a push, and the reasons why it is refused."""

    repo: str
    files: dict  # name in the repository -> Path, or bytes for the card
    refusals: list = field(default_factory=list)

    def __str__(self):
        sizes = {name: len(f) if isinstance(f, bytes) else f.stat().st_size for name, f in self.files.items()}
        sizes["in all"] = sum(sizes.values())
        lines = [f"{size / 1e6:12,.3f} MB  {name}" for name, size in sizes.items()]
        lines += [f"refused: {reason}" for reason in self.refusals]
        return "\n".join([f"to https://huggingface.co/{self.repo}", *lines])


def plan_push(folder, repo, known=None, precision=""):
    """Plan the push of the model in a run's folder to `repo` (owner/name on the hub): a PushPlan; nothing is sent.

    known      {ingredient: licence} for ingredients whose licence this project does not know
    precision  "F32", "F16" or "BF16" also writes a GGUF file, below the run's folder
    """
    try:
        utils.validate_repo_id(repo)
    except errors.HFValidationError as error:
        raise ValueError(f"to: {error}") from None
    if repo.count("/") != 1:
        raise ValueError(f"to: expected owner/name, found {repo!r}")
    line = read_lineage(folder)
    model = line[-1].folder / "model"
    refusals = licences.licence_refusals(licences.list_ingredients(line, known))
    files = {str(f.relative_to(model)): f for f in sorted(model.rglob("*")) if f.is_file()}
    strange = utils.filter_repo_objects(files, ignore_patterns=[*WANTED])
    refusals += [f"model/{name}: expected only files of a safe model ({', '.join(WANTED)})" for name in strange]
    if precision:
        file = line[-1].folder / "gguf" / f"{repo.split('/')[1]}-{precision}.gguf"
        gguf_file.export_gguf(model, file, precision, repo.split("/")[1])
        files[file.name] = file
    return PushPlan(repo, {"README.md": card.write_card(line, repo, known).content.encode()} | files, refusals)


def push_model(plan, public=False, api=None):
    """Push a PushPlan's files in one commit to a private (or public) repository; returns the commit's address.

    The commit removes what an earlier push left there beside them: files that match WANTED.
    api  a `huggingface_hub.HfApi`; None uses the account of `hf auth login`
    Raises ValueError when the plan is refused; RuntimeError when nobody is signed in, the hub refuses it, or the repository
    is there and public where a private one is asked for, or private where a public one is.
    """
    if plan.refusals:
        raise ValueError(f"{plan.repo}: not pushed:\n- " + "\n- ".join(plan.refusals))
    api = api or huggingface_hub.HfApi()
    adds = [huggingface_hub.CommitOperationAdd(n, str(f) if isinstance(f, Path) else f) for n, f in plan.files.items()]
    try:
        api.create_repo(plan.repo, private=not public, exist_ok=True)
        there = api.repo_info(plan.repo)
        if there.private == public:  # an earlier one stays as it is
            found, asked, way = ("private", "public", "without") if public else ("public", "private", "with")
            told = f"{plan.repo}: not pushed: the repository exists and is {found}"
            raise RuntimeError(f"{told}: make it {asked} in its settings, choose another name, or push {way} --public")
        old = utils.filter_repo_objects((file.rfilename for file in there.siblings or ()), allow_patterns=[*WANTED])
        work = adds + [huggingface_hub.CommitOperationDelete(name) for name in old if name not in plan.files]
        return api.create_commit(plan.repo, work, commit_message="Model, card and tokenizer made with Blossom").commit_url
    except (OSError, utils.httpx.HTTPError) as error:
        lacking = 401 * isinstance(error, errors.LocalTokenNotFoundError)
        status = getattr(getattr(error, "response", None), "status_code", lacking)
        told = "nobody is signed in to the hub" if status == 401 else f"not pushed ({f'{error} '.splitlines()[0][:200]})"
        ways = "make a token that may write there, then `hf auth login`", "check the network and HF_HUB_OFFLINE"
        raise RuntimeError(f"{plan.repo}: {told}: {ways[status not in (401, 403)]}") from None
