"""Load models, once their files are checked, resize their embeddings, save them.

Nothing in a folder is read before it is checked, so that none of its code runs and no pickle is opened. A saved folder is
what `from_pretrained` reads, plus `blossom.json` with the hash of the tokenizer; `load_model` refuses a folder whose
tokenizer has another hash.
"""

import gc
import hashlib
import re
from pathlib import Path

import torch
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

from blossom.assets.registry import fetch_asset
from blossom.common import paths
from blossom.vocabulary.embeddings import find_decoder
from blossom.vocabulary.loading import load_tokenizer, tell_failure, write_tokenizer

RECORD = "blossom.json"
# buffers that older libraries stored as weights (masks, positions), and a second copy of a table that is tied
HARMLESS = r"(inv_freq|_cached|causal_mask|masked_bias|(attn|attention)\.bias|embed_positions(\.weights)?"
HARMLESS += r"|(lm_head|embed_out)\.weight)$|(^|\.)mtp\w*\."  # and layers that predict several tokens at once


def pick_device(model=None):
    """The card, if there is one with enough free memory for the weights of a model that is to be moved there; or the CPU."""
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if model is not None and place.type == "cuda":
        torch.cuda.empty_cache()
        size, free = sum(p.nbytes for p in model.parameters() if p.device.type == "cpu"), torch.cuda.mem_get_info()[0]
        if size > free:
            print(f"note: the weights take {size / 1e9:.1f} GB and the card has {free / 1e9:.1f} GB free: the CPU computes")
            return torch.device("cpu")
    return place


def pick_dtype(precision="auto"):
    """The torch dtype of "float32", "bfloat16" or "auto", which is bfloat16 where its matmuls are faster than float32's."""
    if precision == "auto":
        cpu = torch.cpu.get_capabilities()
        # AVX512-BF16 without AMX doubles the speed on AMD's processors; on Intel's it gives 0.5 to 0.7 of float32's
        fast = cpu.get("amx_bf16") or (cpu.get("avx512_bf16") and not cpu["cpu_name"].startswith("Intel"))
        return torch.bfloat16 if (torch.cuda.is_bf16_supported() if torch.cuda.is_available() else fast) else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]


def load_model(name, dtype=None, place=None, quantize="none"):
    """Load a causal language model, in eval mode, and its tokenizer.

    name          asset name, folder or hub id
    dtype         of the weights: torch's; None: as stored; "quick": as stored, but float32 on a CPU that is slow otherwise
    place         device; None: `pick_device`
    quantize      "none", or "nf4" (`quantize_layers`)
    Raises ValueError when weights are missing, the folder is unsafe (`check_model`), or tokenizer and weights do not match.
    """
    folder = fetch_asset(str(name))
    check_model(folder, name)
    tokenizer = load_tokenizer(name)
    if dtype == "quick":
        dtype = torch.float32 if pick_device().type == "cpu" and pick_dtype() == torch.float32 else None
    model = _read(folder, name, dtype or "auto")
    _add_special_rows(model, tokenizer)
    _check_tokenizer(model, tokenizer, folder)
    if quantize == "nf4":
        quantize_layers(model, place or pick_device())
    return model.eval().to(place or pick_device(model)), tokenizer


def check_model(folder, name):
    """Raise ValueError unless `folder` passes `check_config` and has all its weights as safetensors inside it."""
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
    """Raise ValueError unless `folder` has a config.json of a known architecture, no adapter and no quantised weights."""
    if (folder / "adapter_config.json").exists():  # transformers would fetch whatever base the adapter names
        raise ValueError(f"{name}: is an adapter (it has an adapter_config.json); give the model it was merged into")
    if not (folder / "config.json").exists():
        raise ValueError(f"{name}: no model there ({folder} has no config.json)")
    config = paths.read_json(folder / "config.json", dict)
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        told = f"{name}: its config.json names the architecture {kind!r}, which transformers does not know"
        raise ValueError(f"{told}; code that comes with a model is never run")
    if stored := config.get("quantization_config") or config.get("compression_config"):
        told = f"config.json: quantization_config: weights in few bits ({str(stored)[:60]}), which are not trained here"
        raise ValueError(f"{name}: {told}; take the model that they were made from, and quantize: nf4 if memory is short")


def quantize_layers(model, place):
    """Replace the linear layers of a model's decoder by frozen ones in NF4, on a device (QLoRA, Dettmers et al. 2023)."""
    from bitsandbytes import nn

    for parent in list(find_layers(model).modules()):
        for name, layer in parent.named_children():
            if type(layer) is torch.nn.Linear:
                small = nn.Linear4bit(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
                small.weight, small.bias = nn.Params4bit(layer.weight.data, quant_type="nf4").to(place), layer.bias
                small.compute_type_is_set = True  # else by its first input, for all later ones
                small.support_avx512bf16_for_cpu = False  # in eval mode it would repack weights, and then give no gradients
                setattr(parent, name, small)


def _read(folder, name, dtype):
    if not gc.isenabled():  # in a batch, until the libraries are imported, of whose objects none is garbage
        gc.freeze()
        gc.enable()
    logging.disable_progress_bar()  # in JupyterLab it stays at 0 %
    try:  # unless trust_remote_code is False, transformers asks on the terminal
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        for part in (config, config.get_text_config()):
            if type(part) not in MODEL_FOR_CAUSAL_LM_MAPPING:  # the second: it could be trained, but not loaded again
                raise ValueError(f"transformers has no causal language model of the kind {part.model_type}")
        _check_shape(part)
        options = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
        model, told = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False, **options)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{name}: its files do not load ({tell_failure(error)})") from None
    model = model.float() if model.dtype == torch.float64 else model
    unexpected = {key for key in told["unexpected_keys"] if not re.search(HARMLESS, key)}
    wrong = {  # transformers would initialise absent ones at random
        "lack {} weights that its config.json asks for": told["missing_keys"],
        "have {} weights that its config.json has no place for": unexpected,
        "have {} weights of other sizes than its config.json says": {key for key, *_ in told["mismatched_keys"]},
        "hold NaN or Inf in {} weights": find_broken(model),
    }
    for what, keys in wrong.items():
        if keys:
            what = what.format(len(keys))
            raise ValueError(f"{name}: its files {what}, first {min(keys)}; copy config.json and weights from one place")
    head = model.get_output_embeddings()  # a config.json may say otherwise than its files, or in its text_config
    model.config.tie_word_embeddings = getattr(head, "weight", None) is model.get_input_embeddings().weight
    return model


def _check_shape(config):
    """Raise ValueError for a size with which nothing can be read, or a padding id without a row."""
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings"):
        if isinstance(found := getattr(config, name, None), int) and found < 1:
            raise ValueError(f"config.json: {name}: expected at least 1, found {found}")
    rows, pad = getattr(config, "vocab_size", None), getattr(config, "pad_token_id", None)
    if rows and pad and pad >= rows:
        told = f"config.json: pad_token_id: the embedding table has {rows} rows and none for {pad}"
        raise ValueError(f"{told}; set it to the id of a token that the model has, such as eos_token_id")


def find_broken(model):
    """Names of the weights that hold NaN or Inf (in 0.1 s for 135M parameters; torch.isfinite takes 1 s)."""
    floats = [(n, w.detach()) for n, w in model.named_parameters() if w.is_floating_point() and w.element_size() > 1]
    return [name for name, w in floats if w.numel() and not torch.stack(w.aminmax()).isfinite().all()]


def _add_special_rows(model, tokenizer):
    """Give special tokens behind the last row, such as `<pad>` of some copies of Llama-2, the mean of all rows as theirs."""
    tables, first = [model.get_input_embeddings()], first_new_row(model)
    tables += [] if model.config.tie_word_embeddings else [model.get_output_embeddings()]
    new, added = range(len(tables[0].weight), len(tokenizer)), tokenizer.added_tokens_decoder
    if new and all(i in added and added[i].special for i in new):
        resize_model(model, new.start, *(t.weight.detach().float().mean(0).expand(len(new), -1) for t in tables))
        model.config.first_new_row = first
        print(f"note: rows added for {', '.join(added[i].content for i in new)}, which the model's files have none for")


def _check_tokenizer(model, tokenizer, folder=None):
    """Check that the tokenizer fits the model's rows and, given a folder, has the hash in the folder's record."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        told = f"{folder or 'model'}: the tokenizer has {len(tokenizer)} tokens and the model {rows} embedding rows"
        raise ValueError(f"{told}; take a tokenizer and a model that were saved together")
    record = Path(folder or "") / RECORD
    if folder and record.exists():
        expected, found = paths.read_json(record, {"tokenizer_sha256": str})["tokenizer_sha256"], _hash_tokenizer(tokenizer)
        if found != expected:
            told = f"tokenizer_sha256: saved with {expected:.64}, found {found}"
            raise ValueError(f"{folder}: its files do not belong together ({told})")


def _hash_tokenizer(tokenizer):
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def find_layers(model):
    """The layers of a model's decoder: of its lists of modules the one with most parameters."""
    lists = [m for m in find_decoder(model).modules() if isinstance(m, torch.nn.ModuleList)]
    return max(lists, key=lambda m: sum(p.numel() for p in m.parameters()))


def first_new_row(model):
    """The id of the first token that was added to the base model; None when none was."""
    return getattr(model.config, "first_new_row", None)


def save_model(model, tokenizer, folder):
    """Write weights (safetensors), tokenizer and its hash to `folder`; ValueError for a weight that is not finite."""
    _check_tokenizer(model, tokenizer)
    if broken := find_broken(model):
        raise ValueError(f"not saved: {len(broken)} weights are not finite, first {broken[0]}")
    with paths.write_atomically(folder) as temporary:
        model.save_pretrained(temporary)
        write_tokenizer(tokenizer, temporary)
        _add_old_names(temporary / "config.json")
        paths.write_json(temporary / RECORD, {"tokenizer_sha256": _hash_tokenizer(tokenizer)})


def _add_old_names(file):
    """Add transformers 4's names to a config.json; without rope_theta it would compute other positions and say nothing."""
    config = paths.read_json(file)
    for part in (config, config.get("text_config") or {}):
        part |= _name_positions(part.get("model_type", ""), part.get("rope_parameters") or {})
    paths.write_json(file, config | {"torch_dtype": config["dtype"]})


def _name_positions(kind, rope):
    """What transformers 4 calls the `rope_parameters` of a kind of model: dict, empty where there are none."""
    found = {}
    if kind.startswith(("gemma3", "olmo3")) and rope:  # version 4 knows no other kind whose parameters differ by layer
        found, rope = {"rope_local_base_freq": rope["sliding_attention"]["rope_theta"]}, rope["full_attention"]
    if "rope_theta" not in rope:
        return found
    names = ("rotary_emb_base", "rotary_pct") if kind.startswith("gpt_neox") else ("rope_theta", "partial_rotary_factor")
    old = dict(zip(("rope_theta", "partial_rotary_factor"), names, strict=True))
    scaling = {name: value for name, value in rope.items() if name not in old}
    found |= {old[name]: rope[name] for name in old if name in rope}
    return found | {"rope_scaling": None if rope["rope_type"] == "default" else scaling}


def untie_model(model):
    """Give a model with tied embeddings an output table of its own, a copy: the number of parameters added."""
    if not model.config.tie_word_embeddings:
        return 0
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    model.config.tie_word_embeddings, model.all_tied_weights_keys = False, {}
    return head.weight.numel()


def resize_model(model, first, rows, head_rows=None):
    """Replace a model's embedding rows from id `first` on by rows for new tokens; config.first_new_row records `first`.

    rows       (N, D) input embeddings of the new tokens
    head_rows  (N, D) output embeddings; None takes `rows`. Must be None when the two tables are tied
    """
    tied = model.config.tie_word_embeddings
    if tied and head_rows is not None:
        raise ValueError("head_rows: this base ties its input and output embeddings, so one set of rows serves both")
    getters = [model.get_input_embeddings] if tied else [model.get_input_embeddings, model.get_output_embeddings]
    tables = [get().weight.data[:first].clone() for get in getters]
    model.resize_token_embeddings(first + len(rows), mean_resizing=False)
    for get, old, new in zip(getters, tables, [rows, rows if head_rows is None else head_rows], strict=False):
        get().weight.data.copy_(torch.cat([old, new.to(old)]))
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        model.get_output_embeddings().bias.data[first:] = 0
    model.config.first_new_row = first
