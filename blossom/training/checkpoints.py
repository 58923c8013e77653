"""The state of a training on disk: complete or absent, safetensors and JSON only.

checkpoints/step-000120/
    state.safetensors   trained parameters, the optimizer's moments, torch's random generators
    progress.json       "fingerprint" (settings and data), "step", "seen" (measured so far), "losses" (since the last logged
                        one, of each process), "result" (at the end), "sha256" (of the state and the rest of progress.json)
"""

import hashlib
import itertools
import json
import os
import shutil
import signal
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from blossom.common import paths
from blossom.models import adapters, loading

PROGRESS = {"fingerprint": dict, "step": int, "seen": dict, "losses": list[float], "result": dict | None, "sha256": str}
BEFORE_LIMIT = 600  # seconds before Slurm's time limit at which a training ends: time to write a checkpoint of 80 GB


class SaveTimer:
    """Decides, alike in all processes, after which steps a training is saved and ended; a context that catches signals."""

    def __init__(self, accelerator, minutes):
        self.accelerator, self.seconds, self.saved = accelerator, 60 * minutes, time.monotonic()
        self.signals, self.before = [], {}  # received; the earlier handlers

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            noted = (signal.SIGTERM, signal.SIGUSR1)
            self.before = {n: signal.signal(n, lambda number, _: self.signals.append(number)) for n in noted}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def ask(self):
        """0: go on; 1: save (`minutes` have passed by the first process's clock); 2: save and end the training.

        It ends after SIGTERM or SIGUSR1 in any process, and BEFORE_LIMIT before the end of its Slurm job.
        """
        due = self.accelerator.is_main_process and time.monotonic() - self.saved >= self.seconds
        self.saved = time.monotonic() if due else self.saved
        late = time.time() > float(os.environ.get("SLURM_JOB_END_TIME", "inf")) - BEFORE_LIMIT
        wish = torch.tensor([2 if self.signals or late else int(due)], device=self.accelerator.device)
        return self.accelerator.gather(wish).max().item()


def fingerprint_settings(settings):
    """The settings on which a training's result depends: a dict."""
    return asdict(replace(settings, report_to="", checkpoint_minutes=0.0))


def fingerprint_texts(evaluate):
    """A hash of the `texts` of a partial function, since a curve must not go on with values of other texts; else {}."""
    texts = getattr(evaluate, "keywords", {}).get("texts")
    return {"held-out texts": hashlib.sha256(json.dumps(texts).encode()).hexdigest()} if texts else {}


def fingerprint_start(learner):
    """What a training starts from: a hash of all weights but the adapters', which follow from the seed, and their scale."""
    digest = hashlib.sha256()
    for name, weight in learner.named_parameters():
        if "lora_" not in name:
            digest.update(name.encode())
            scales = weight.quant_state.as_dict(packed=True).values() if hasattr(weight, "quant_state") else ()  # of NF4
            for part in (weight.detach(), *scales):
                digest.update(part.flatten().view(torch.uint8).cpu().numpy())
    alphas = [config.lora_alpha for config in getattr(learner.model, "peft_config", {}).values()]
    return {"model": digest.hexdigest(), "lora_alpha": alphas}


def read_result(folder, settings):
    """What a finished training with these settings in `folder` returned; None without one."""
    try:
        progress = paths.read_json(list_checkpoints(Path(folder) / "checkpoints")[-1] / "progress.json", PROGRESS)
    except (IndexError, ValueError):  # none, or damaged, which `find_checkpoint` says
        return None
    same = progress["result"] and fingerprint_settings(settings).items() <= progress["fingerprint"].items()
    return progress["result"] if same else None


def find_checkpoint(folder, fingerprint, report):
    """Find the newest whole checkpoint in `folder`; None when there is none, or it has another fingerprint.

    Damaged checkpoints are renamed to damaged-step-..., and those with another fingerprint are moved to <folder>.old;
    `report` gets a line about it.
    """
    for partial in folder.glob(".*.part"):
        shutil.rmtree(partial)
    newest = progress = None
    for newest in reversed(list_checkpoints(folder)):
        try:
            progress = _check_whole(newest)
            break
        except ValueError as error:
            report(f"{error}: set aside as {_set_aside(newest, f'damaged-{newest.name}').name}")
    if progress is None:
        if newest:
            report("no whole checkpoint is left: starting anew")
        return None
    kept, asked = progress["fingerprint"], json.loads(json.dumps(fingerprint))
    if progress.get("result"):  # a finished training is loaded by any number of processes
        kept["processes"] = asked["processes"]
    differ = [name for name in asked if kept.get(name) != asked[name]]
    if not differ:
        report(f"continuing from {newest.name}")
        return newest
    aside = _set_aside(folder, f"{folder.name}.old")
    told = ", ".join(f"{k} {kept.get(k)} -> {asked[k]}" if len(str(asked[k])) < 40 else k for k in differ)
    report(f"{newest.name} is of another run ({told}): set aside as {aside.name}, starting anew")


def list_checkpoints(folder):
    """The checkpoints in a folder (paths), oldest first."""
    return sorted(folder.glob("step-*"), key=lambda path: (len(path.name), path.name))


def _set_aside(path, name):
    names = (path.with_name(f"{name}{n or ''}") for n in itertools.chain([0], itertools.count(2)))
    return path.rename(next(free for free in names if not free.exists()))


def _check_whole(checkpoint):
    """A checkpoint's progress; ValueError when a file is missing, or was changed since it was written."""
    progress, state = paths.read_json(checkpoint / "progress.json", PROGRESS), checkpoint / "state.safetensors"
    if not state.is_file() or _hash_checkpoint(state, progress) != progress["sha256"]:
        raise ValueError(f"{checkpoint}: its files are not as they were written (SHA-256)")
    return progress


def _hash_checkpoint(state, progress):
    told = json.dumps({name: value for name, value in progress.items() if name != "sha256"}, sort_keys=True)
    return hashlib.sha256((told + paths.hash_path(state)).encode()).hexdigest()


def write_checkpoint(folder, tensors, progress):
    """Save tensors (from `collect_state`) and progress as `folder`/step-<step>; only the checkpoint before it stays too.

    Raises RuntimeError when the disk is full; the checkpoint before is kept then.
    """
    *older, before = [None, *list_checkpoints(folder)]
    for old in filter(None, older):  # first: the disk has room for two
        shutil.rmtree(old)
    try:
        with paths.write_atomically(folder / f"step-{progress['step']:06d}") as temporary:
            temporary.mkdir()
            save_file(tensors, temporary / "state.safetensors")
            sha256 = _hash_checkpoint(temporary / "state.safetensors", progress)
            paths.write_json(temporary / "progress.json", progress | {"sha256": sha256})
    except Exception as error:  # OSError, or safetensors' own with the same words in it
        if not paths.is_disk_full(error):
            raise
        kept = f"the one of {before.name} is intact" if before else "there is none before it"
        raise RuntimeError(f"{folder}: no space left for a checkpoint; {kept}. Free some, then run again.") from None


def read_checkpoint(path, learner, optimizer=None):
    """Load a checkpoint's parameters into `learner` and return its progress; with an optimizer, load all other state too."""
    with torch.no_grad(), safe_open(path / "state.safetensors", "pt") as file:  # one tensor in memory at a time
        moments = [key.split("/", 2) for key in file.keys() if key.startswith("moment/")]  # noqa: SIM118 (no dict)
        for name, parameter in _trained(learner):
            parameter.copy_(_place(file.get_tensor(f"parameter/{name}"), parameter))
            if optimizer is not None:
                own = {kind: file.get_tensor(f"moment/{kind}/{name}") for _, kind, of in moments if of == name}
                optimizer.state[parameter] = {kind: _place(value, parameter) for kind, value in own.items()}
        if optimizer is not None:
            torch.set_rng_state(file.get_tensor("generator/cpu"))
            if torch.cuda.is_available() and "generator/cuda" in file.keys():  # noqa: SIM118
                torch.cuda.set_rng_state(file.get_tensor("generator/cuda"))
    return paths.read_json(path / "progress.json", PROGRESS)


def collect_state(learner, optimizer, keep=True):
    """The tensors of a checkpoint by name; call it in every process, since it gathers FSDP's shards.

    keep  whether this process wants them; the others only help to gather, one tensor at a time
    """
    tensors = {"generator/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["generator/cuda"] = torch.cuda.get_rng_state()
    for name, parameter in _trained(learner):
        found = {f"parameter/{name}": parameter}
        found |= {f"moment/{kind}/{name}": value for kind, value in optimizer.state.get(parameter, {}).items()}
        for key, value in found.items():
            value = torch.as_tensor(value).detach()
            value = value.full_tensor().cpu() if isinstance(value, DTensor) else value
            if keep:
                tensors[key] = value.clone() if "qmap" in key else value.contiguous()  # 8-bit moments share their maps
    return tensors


def _trained(learner):
    return [(n, p) for n, p in learner.named_parameters() if p.requires_grad]


def _place(value, parameter):
    """A saved tensor on the device of `parameter`; under FSDP, this process's shard of it."""
    if value.dtype == torch.int64 and not value.dim():  # an 8-bit optimizer counts steps in plain numbers
        return value.item()
    value = value.to(parameter.device)
    if isinstance(parameter, DTensor) and value.shape == parameter.shape:
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value


def keep_model(model, tokenizer, base, folder, lines, save_precision="auto"):
    """Save what `train_model` trained: `folder`/model (adapters merged, tokenizer) and `folder`/adapter, if there is one.

    model           ends on the CPU; without adapters, also in the saved precision
    base            the folder, asset or hub id that the model was loaded from
    lines           held-out text, of which bits/byte are compared before and after saving
    save_precision  "float32", "bfloat16", "float16", or "auto": as the base is stored, but float32 where rounding to that
                    is refused

    Returns and raises as `check_saved` and `round_weights`, without a `folder`/model then. The checkpoints stay:
    `Run.finish` removes them. Adapters that were trained on weights in NF4 are merged into the base's own weights: "trained"
    is then measured in NF4, and "merged", also returned, on its own weights before rounding; "saved" must agree with this.
    """
    given, asked = (tokenizer, base, Path(folder), lines), getattr(torch, save_precision, None)
    try:
        return _keep_rounded(model, *given, asked)
    except adapters.RoundingError as error:
        if asked:
            raise
        print(f"{str(error).split('. ')[0]}. save_precision: auto saves float32 instead.")
    return _keep_rounded(model, *given, torch.float32)


def _keep_rounded(model, tokenizer, base, folder, lines, asked):
    dtype, own = model.dtype, {}
    for newest in list_checkpoints(folder / "checkpoints")[-1:]:  # in float32; training ends in the dtype of the base
        with safe_open(newest / "state.safetensors", "pt") as state:
            for name, parameter in _trained(model):
                parameter.data = state.get_tensor(f"parameter/model.{name}").to(parameter.device)
    if adapted := hasattr(model, "get_base_model"):
        adapters.save_adapter(model, folder / "adapter")
        if any(hasattr(weight, "quant_state") for weight in model.parameters()):
            own["trained"], _ = adapters.measure_kept(model, tokenizer, lines, torch.float32)
        model.to("cpu")  # makes room on a card
        model, dtype = adapters.read_adapter(base, folder / "adapter")
    place, wide = loading.pick_device(model), torch.promote_types(dtype, asked or dtype) if adapted else torch.float32
    measured = torch.float32 if wide == torch.float16 and place.type == "cpu" else wide  # slow on CPU
    before = adapters.measure_kept(model.to(place), tokenizer, lines, measured)
    if own:
        own["merged"] = before[0]
        print("bits/byte on weights in NF4: {trained:.4f}; on the base's own weights: {merged:.4f}".format(**own))
    model = (adapters.merge_adapter if adapted else adapters.round_weights)(model.to("cpu"), asked or dtype)
    with paths.write_atomically(folder / "model") as temporary:
        loading.save_model(model, tokenizer, temporary)
        del model
        return adapters.check_saved(temporary, before, lines, measured, place) | own
