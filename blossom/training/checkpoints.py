"""The state of a run on disk: complete or absent, safetensors and JSON only, and set aside when it is of another run.

    checkpoints/step-000120/
        state.safetensors   trained parameters, the optimizer's moments, the generators' states
        progress.json       rates, what was measured so far, and the fingerprint of the run
        trainer_state.json  Trainer's own: the step

A checkpoint is written under another name and renamed when whole, so a kill or a full disk leaves the one before.
"""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from blossom.common import paths


def find_checkpoint(folder, fingerprint, report=print):
    """The newest complete checkpoint of the run with this fingerprint below `folder`, or None.

    Removes what a killed run left half-written; sets another run's checkpoints aside as <folder>.old, and says so.
    """
    for rest in folder.glob(".*.part"):
        shutil.rmtree(rest)
    newest = _newest(folder)
    if newest is None:
        return None
    progress, asked = paths.read_json(newest / "progress.json"), json.loads(json.dumps(fingerprint))
    kept = progress["fingerprint"]
    if "result" in progress:  # nothing is left to train, so it does not matter by how many it was
        kept["processes"] = asked["processes"]
    differ = [name for name in asked if kept.get(name) != asked[name]]
    if not differ:
        report(f"going on from {newest.name}")
        return newest
    names = (f"{folder.name}.old{n}" for n in ("", *range(2, 1000)))
    aside = next(folder.with_name(name) for name in names if not folder.with_name(name).exists())
    folder.rename(aside)
    told = ", ".join(f"{k} {kept.get(k)} -> {asked[k]}" if len(str(asked[k])) < 40 else k for k in differ)
    report(f"{newest.name} is of another run ({told}): set aside as {aside.name}, starting anew")
    return None


def _newest(folder):
    return max(folder.glob("step-*"), default=None)


def write_checkpoint(folder, step, tensors, files):
    """Save the whole state (of `collect_state`) as `folder`/step-<step>, then remove older ones.

    Raises RuntimeError when the disk is full; the checkpoint before is still there then.
    """
    target = folder / f"step-{step:06d}"
    try:
        with paths.write_atomically(target) as temporary:
            temporary.mkdir()
            save_file(tensors, temporary / "state.safetensors")
            for name, value in files.items():
                paths.write_json(temporary / name, value)
    except Exception as error:  # OSError, or safetensors' own with the same words in it
        if not paths.is_disk_full(error):
            raise
        last = _newest(folder)
        kept = f"the one of {last.name} is intact" if last else "there is none before it"
        raise RuntimeError(f"{folder}: no space left for a checkpoint; {kept}. Free some, then run again.") from None
    for old in sorted(folder.glob("step-*"))[:-1]:
        shutil.rmtree(old)


def mark_finished(folder, step, result):
    """Mark the checkpoint of `step`, if there is one, as the end of its training, with what `train_model` returned."""
    file = folder / f"step-{step:06d}" / "progress.json"
    if file.exists():
        paths.write_json(file, paths.read_json(file) | {"result": result})


def read_result(path):
    """What `train_model` returned when this checkpoint ended its training, or None when there is more to do."""
    return paths.read_json(path / "progress.json").get("result")


def read_checkpoint(path, learner, optimizer=None):
    """Put a checkpoint's state back into `learner` and `optimizer` (if given); returns its progress (dict)."""
    progress = paths.read_json(path / "progress.json")
    tensors = load_file(path / "state.safetensors")
    with torch.no_grad():
        for name, parameter in _trained(learner):
            parameter.copy_(_as(parameter, tensors[f"parameter/{name}"]))
            if optimizer is None:
                continue
            own = (key for key in tensors if key.startswith("moment/") and key.split("/", 2)[2] == name)
            kept = {key.split("/")[1]: tensors[key] for key in own}
            optimizer.state[parameter] = {key: _moment(parameter, value) for key, value in kept.items()}
    return progress


def _as(parameter, tensor):
    """A whole tensor as `parameter` is held: on its device, and of FSDP's shards this process's."""
    tensor = tensor.to(parameter.device)
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements) if _is_shard(parameter) else tensor


def _moment(parameter, value):
    if value.dtype == torch.int64 and not value.dim():  # an 8-bit optimizer counts in plain numbers
        return value.item()
    return _as(parameter, value) if value.shape == parameter.shape else value.to(parameter.device)


def _is_shard(tensor):
    return isinstance(tensor, DTensor)


def restore_generators(path):
    """Put the random generators back where a checkpoint left them."""
    tensors = load_file(path / "state.safetensors")
    torch.set_rng_state(tensors["generator/cpu"])
    if "generator/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["generator/cuda"])


def _trained(learner):
    return [(n, p) for n, p in learner.named_parameters() if p.requires_grad]


def collect_state(learner, optimizer):
    """All that a checkpoint holds, name -> tensor; every process must call it, since shards are gathered here."""
    tensors = {"generator/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["generator/cuda"] = torch.cuda.get_rng_state()
    for name, parameter in _trained(learner):
        tensors[f"parameter/{name}"] = _whole(parameter)
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"moment/{key}/{name}"] = _whole(value)
    return tensors


def _whole(value):
    value = torch.as_tensor(value).detach()
    return (value.full_tensor() if _is_shard(value) else value).contiguous()
