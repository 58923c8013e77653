"""Load and check models, resize their embeddings, save them.

A saved folder is what `from_pretrained` reads (safetensors, never pickle) plus `blossom.json`, the hash of the tokenizer
that the weights belong to. `load_model` refuses a folder with another tokenizer.
"""

import hashlib
from pathlib import Path

import torch

from blossom.assets.registry import fetch_asset
from blossom.assets.safety import check_model
from blossom.common import paths
from blossom.vocabulary.loading import load_tokenizer

RECORD = "blossom.json"


def pick_device():
    """The CUDA device when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(precision="auto"):
    """The torch dtype of "float32", "bfloat16" or "auto": bfloat16 where its matmuls are faster than float32's."""
    if precision == "auto":
        cpu = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
        cuda = pick_device().type == "cuda"
        fast = torch.cuda.is_bf16_supported() if cuda else any(check() for check in cpu if check)
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]


def load_model(name, dtype=None, place=None):
    """A causal language model and its tokenizer, in eval mode.

    name    asset name, folder or hub id
    dtype   torch dtype of the weights; None keeps the stored one
    place   device for the weights; None takes `pick_device()`

    Raises ValueError when tokenizer and weights do not belong together, naming both sizes, or the folder is not what
    `check_model` asks, or lacks weights; RuntimeError or ValueError of `fetch_asset` when there is no such model.
    """
    folder = fetch_asset(str(name))
    check_model(folder, name)
    tokenizer = load_tokenizer(name)
    model = _read(folder, name, dtype or "auto")
    _check_tokenizer(model, tokenizer, folder)
    return model.eval().to(place or pick_device()), tokenizer


def _read(folder, name, dtype):
    from transformers import AutoModelForCausalLM

    safe = {"use_safetensors": True, "trust_remote_code": False}  # without it, transformers asks at the keyboard
    try:
        model, told = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True, **safe)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{name}: its files do not load ({type(error).__name__}: {reason}); copy them again") from None
    if absent := sorted(told["missing_keys"]):  # transformers would start these at random
        raise ValueError(f"{name}: its files lack {len(absent)} weights that its config.json asks for, first {absent[0]}")
    return model


def _check_tokenizer(model, tokenizer, folder=None):
    """Raise ValueError unless `tokenizer` fits `model` (and, with a folder, is the one the folder's record names)."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ValueError(
            f"{folder or 'model'}: the tokenizer has {len(tokenizer)} tokens and the model {rows} embedding rows; "
            "take the model that was saved with this tokenizer, or run notebook 02, which resizes"
        )
    record = Path(folder or "") / RECORD
    if folder and record.exists():
        expected, found = paths.read_json(record)["tokenizer_sha256"], _hash_tokenizer(tokenizer)
        if found != expected:
            told = f"tokenizer_sha256: saved with {expected}, found {found}"
            raise ValueError(f"{folder}: its files do not belong together ({told})")


def _hash_tokenizer(tokenizer):
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def first_new_row(model):
    """The id of the first token that the base model did not have; None when no rows were added."""
    return getattr(model.config, "first_new_row", None)


def save_model(model, tokenizer, folder):
    """Write weights (safetensors), tokenizer and record to `folder`, whole or not at all.

    Raises ValueError when a weight is not a finite number, naming it.
    """
    _check_tokenizer(model, tokenizer)
    broken = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if broken:
        raise ValueError(f"not saved: {len(broken)} weights are not finite, first {broken[0]}")
    with paths.write_atomically(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        paths.write_json(temporary / RECORD, {"tokenizer_sha256": _hash_tokenizer(tokenizer)})


def resize_model(model, first, rows, head_rows=None):
    """Give the model new embedding rows for the tokens from id `first` on; config.first_new_row remembers `first`.

    model      changed in place; the base's rows from `first` on (padding) are dropped
    rows       (N, D) input embeddings of the new tokens
    head_rows  (N, D) their output embeddings; None takes `rows`

    Raises ValueError when the two tables are tied and `head_rows` is given.
    """
    tied = model.config.tie_word_embeddings
    if tied and head_rows is not None:
        raise ValueError("head_rows: this base ties its input and output embeddings, so one set of rows serves both")
    getters = [model.get_input_embeddings] if tied else [model.get_input_embeddings, model.get_output_embeddings]
    tables = [get().weight.data[:first].clone() for get in getters]
    model.resize_token_embeddings(first + len(rows), mean_resizing=False)
    for get, old, new in zip(getters, tables, [rows, rows if head_rows is None else head_rows], strict=False):
        get().weight.data.copy_(torch.cat([old, new.to(old)]))
    model.config.first_new_row = first
