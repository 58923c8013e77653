"""The state of a training on disk: complete or absent, safetensors and JSON only, set aside when it is of another run.

    checkpoints/step-000120/
        state.safetensors   trained parameters, the optimizer's moments, torch's random generators
        progress.json       the run's fingerprint, what was measured so far, Python's and numpy's random generators

A checkpoint is written under another name and renamed when whole, so a kill or a full disk leaves the one before.
"""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from blossom.common import paths
from blossom.models.adapters import merge_adapter, save_adapter, save_checked


def find_checkpoint(folder, fingerprint, report=print):
    """The newest complete checkpoint below `folder` of the run with this fingerprint, or None.

    Removes what a killed run left half-written; renames another run's checkpoints to <folder>.old, and reports it.
    """
    for rest in folder.glob(".*.part"):
        shutil.rmtree(rest)
    newest = _newest(folder)
    if newest is None:
        return None
    progress, asked = paths.read_json(newest / "progress.json"), json.loads(json.dumps(fingerprint))
    kept = progress["fingerprint"]
    if "result" in progress:  # a finished training is the same whatever the number of processes
        kept["processes"] = asked["processes"]
    differ = [name for name in asked if kept.get(name) != asked[name]]
    if not differ:
        report(f"continuing from {newest.name}")
        return newest
    names = (f"{folder.name}.old{n}" for n in ("", *range(2, 1000)))
    aside = next(folder.with_name(name) for name in names if not folder.with_name(name).exists())
    folder.rename(aside)
    told = ", ".join(f"{k} {kept.get(k)} -> {asked[k]}" if len(str(asked[k])) < 40 else k for k in differ)
    report(f"{newest.name} is of another run ({told}): set aside as {aside.name}, starting anew")
    return None


def _newest(folder):
    return max(folder.glob("step-*"), default=None)


def write_checkpoint(folder, step, tensors, fingerprint, seen):
    """Save the state (of `collect_state`) as `folder`/step-<step>, then remove older ones.

    Raises RuntimeError when the disk is full; the checkpoint before is still there then.
    """
    generators = {"python": random.getstate(), "numpy": _plain(np.random.get_state(legacy=False))}
    try:
        with paths.write_atomically(folder / f"step-{step:06d}") as temporary:
            temporary.mkdir()
            save_file(tensors, temporary / "state.safetensors")
            progress = {"fingerprint": fingerprint, "seen": seen, "generators": generators}
            paths.write_json(temporary / "progress.json", progress)
    except Exception as error:  # OSError, or safetensors' own with the same words in it
        if not paths.is_disk_full(error):
            raise
        last = _newest(folder)
        kept = f"the one of {last.name} is intact" if last else "there is none before it"
        raise RuntimeError(f"{folder}: no space left for a checkpoint; {kept}. Free some, then run again.") from None
    for old in sorted(folder.glob("step-*"))[:-1]:
        shutil.rmtree(old)


def mark_finished(folder, step, result):
    """Record in the checkpoint of `step`, if there is one, that it ends its training, with what `train_model` returns."""
    file = folder / f"step-{step:06d}" / "progress.json"
    if file.exists():
        paths.write_json(file, paths.read_json(file) | {"result": result})


def read_result(path):
    """What `train_model` returned when this checkpoint ended its training, or None when there is more to do."""
    return paths.read_json(path / "progress.json").get("result")


def read_checkpoint(path, learner, optimizer=None):
    """Put a checkpoint's parameters into `learner`; with an optimizer also its moments and the random generators.

    return  (steps done, what `Progress` had seen)
    """
    progress, tensors = paths.read_json(path / "progress.json"), load_file(path / "state.safetensors")
    with torch.no_grad():
        for name, parameter in _trained(learner):
            parameter.copy_(_placed(tensors[f"parameter/{name}"], parameter))
            if optimizer is not None:
                own = [key for key in tensors if key.startswith("moment/") and key.split("/", 2)[2] == name]
                optimizer.state[parameter] = {key.split("/")[1]: _moment(tensors[key], parameter) for key in own}
    if optimizer is not None:
        _restore_generators(tensors, progress.get("generators"))
    return int(path.name.removeprefix("step-")), progress["seen"]


def collect_state(learner, optimizer):
    """The tensors of a checkpoint by name; every process must call it, since FSDP's shards are gathered here."""
    tensors = {"generator/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["generator/cuda"] = torch.cuda.get_rng_state()
    for name, parameter in _trained(learner):
        tensors[f"parameter/{name}"] = _whole(parameter)
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"moment/{key}/{name}"] = _whole(value)
    return tensors


def _restore_generators(tensors, generators):
    if generators:  # earlier versions did not save them
        version, state, gauss = generators["python"]
        random.setstate((version, tuple(state), gauss))
        np.random.set_state(generators["numpy"])
    torch.set_rng_state(tensors["generator/cpu"])
    if "generator/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["generator/cuda"])


def _trained(learner):
    return [(n, p) for n, p in learner.named_parameters() if p.requires_grad]


def _placed(tensor, parameter):
    """A whole tensor as `parameter` is held: on its device; under FSDP, this process's shard."""
    tensor = tensor.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)
    return tensor


def _moment(value, parameter):
    if value.dtype == torch.int64 and not value.dim():  # an 8-bit optimizer counts steps in plain numbers
        return value.item()
    return _placed(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)


def _whole(value):
    value = torch.as_tensor(value).detach()
    return (value.full_tensor() if isinstance(value, DTensor) else value).contiguous()


def _plain(state):
    """numpy's generator state with lists for arrays, as JSON holds it."""
    return state | {"state": state["state"] | {"key": state["state"]["key"].tolist()}}


def keep_model(model, tokenizer, base, folder):
    """Write what `train_model` trained: `folder`/model (merged weights, tokenizer) and, with adapters, `folder`/adapter.

    base    what the model was loaded from (folder, asset or hub id); read again for merging, at its stored precision
    return  the largest difference of logits after reloading

    Removes `folder`/checkpoints at the end. Raises RuntimeError when logits differ, and leaves the checkpoints.
    """
    folder = Path(folder)
    if hasattr(model, "get_base_model"):
        save_adapter(model, folder / "adapter")
        difference = merge_adapter(base, folder / "adapter", folder / "model", tokenizer)
    else:
        difference = save_checked(model, tokenizer, folder / "model")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return difference
