"""Check a model's folder before anything in it is read, so that none of its code runs and no pickle is opened."""

from pathlib import Path

from blossom.common import paths


def check_model(folder, name):
    """Raise ValueError unless `folder` passes `check_config` and has all its weights as safetensors inside it."""
    folder = Path(folder)
    check_config(folder, name)
    if not list(folder.glob("*.safetensors")):
        pickles = sorted(f.name for f in folder.iterdir() if f.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"))
        told = f"; {pickles[0]} is a pickle, which can run code: convert it to safetensors" if pickles else ""
        raise ValueError(f"{name}: no weights there (expected *.safetensors in {folder}){told}")
    for index in folder.glob("*.safetensors.index.json"):
        for file in set(paths.read_json(index, {"weight_map": dict[str, str]})["weight_map"].values()):
            if Path(file).name != file or not file.endswith(".safetensors") or not (folder / file).exists():
                raise ValueError(f"{index}: names {file!r:.80}, which is no .safetensors file beside it")
        if (whole := index.with_name(index.name.removesuffix(".index.json"))).exists():
            raise ValueError(f"{name}: two sets of weights ({whole.name} and {index.name}): move one of them away")


def check_config(folder, name):
    """Raise ValueError unless `folder` has a config.json of an architecture that transformers knows, and no adapter."""
    from transformers import CONFIG_MAPPING

    folder = Path(folder)
    if (folder / "adapter_config.json").exists():  # transformers would fetch whatever base the adapter names
        raise ValueError(f"{name}: is an adapter (it has an adapter_config.json); give the model it was merged into")
    if not (folder / "config.json").exists():
        raise ValueError(f"{name}: no model there ({folder} has no config.json)")
    kind = paths.read_json(folder / "config.json", dict).get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        told = f"{name}: its config.json names the architecture {kind!r}, which transformers does not know"
        raise ValueError(f"{told}; code that comes with a model is never run")
