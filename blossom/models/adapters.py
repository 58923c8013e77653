"""Choose the trained parameters of a model; merge trained adapters into the weights and check the saved model."""

import math
import warnings
import zlib

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils.constants import EMBEDDING_LAYER_NAMES
from transformers.pytorch_utils import Conv1D  # GPT-2's

from blossom.common import paths, runs
from blossom.models import bits, loading
from blossom.vocabulary.embeddings import find_decoder

BITS = 2e-3  # largest relative change of bits/byte when a model is saved
LOGITS = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}  # largest relative error of logits, by the saved precision
KEPT = "The training is kept: run the stage again, and it only saves."


class RoundingError(RuntimeError):
    """A trained model would lose too much in the precision asked for."""


def adapt_model(model, trainable, rank=16, alpha=32, targets=("q_proj", "k_proj", "v_proj"), seed=0):
    """Make some of a model's parameters trainable (figure 1): LoRA on query, key and value, plus word embeddings.

    trainable  "lora+embeddings" (the paper), "lora+new-rows" (only the added embedding rows), "lora" (no rows) or "full"
    targets    last names of the projections that get adapters
    seed       so that adapters start the same in every process, whatever it has drawn before
    return     a PeftModel, or the model itself when "full"

    Raises ValueError when the model has no such projection, or no added rows to train.
    """
    runs.seed_generators(seed)
    if trainable == "full":
        return model.requires_grad_(True)
    names, outside = name_modules(model, targets)
    modules = find_decoder(model).named_modules()
    linear = {name.split(".")[-1] for name, m in modules if isinstance(m, torch.nn.Linear | Conv1D)}
    missing = [t for t in targets if t not in linear]
    if missing or not targets:
        told = f"the base has no {', '.join(missing)}; it has" if targets else "expected at least one of"
        raise ValueError(f"lora_targets: {told} {', '.join(sorted(linear))}")
    tied = model.config.tie_word_embeddings
    if trainable == "lora+embeddings" and tied and names[0] not in EMBEDDING_LAYER_NAMES:  # PEFT would untie them
        told = f"'lora+embeddings' would untie the tables of {model.config.model_type}; take lora+new-rows, lora or full"
        raise ValueError(f"trainable: {told}")
    if trainable == "lora":
        rows = {}
    elif trainable == "lora+embeddings":
        rows = {"modules_to_save": names, "ensure_weight_tying": tied}
    else:
        first, size = loading.first_new_row(model), len(model.get_input_embeddings().weight)
        if first is None or first >= size:
            raise ValueError("trainable: 'lora+new-rows' needs a model with added rows; this one has none (run 02 first)")
        if getattr(model.get_output_embeddings(), "bias", None) is not None:  # PEFT's layer of trained rows would drop it
            told = "'lora+new-rows' would lose the bias of the output layer; take lora+embeddings, lora or full"
            raise ValueError(f"trainable: {told}")
        rows = {"trainable_token_indices": {name: list(range(first, size)) for name in names}}
    rows |= {"target_modules": list(targets), "exclude_modules": outside}
    config = LoraConfig(r=rank, lora_alpha=alpha, task_type="CAUSAL_LM", **rows)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # PEFT uses an old name of transformers
        return get_peft_model(model, config)


def name_modules(model, targets):
    """What PEFT is told: the names of a model's embedding tables (one when tied), and of modules that get no adapters.

    The latter have a name of `targets` outside the decoder, as a vision tower's projections have; None when there are none.
    """
    last = {module: name.split(".")[-1] for name, module in model.named_modules()}
    tables = [model.get_input_embeddings()] + ([] if model.config.tie_word_embeddings else [model.get_output_embeddings()])
    inner = {*find_decoder(model).modules()}  # without the output layer, which `EmbeddingTable` computes without adapters
    outside = [name for name, m in model.named_modules() if m not in inner and last[m] in targets]
    return [last[table] for table in tables], outside or None


def trainable_share(model):
    """dict "trained", "all" (numbers of parameters; tied tables and trained rows count once) and "share" (trained / all)."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = (p for n, p in model.named_parameters() if not p.requires_grad)  # in NF4 two are a byte
    twice = ".original_module.", ".trainable_tokens_delta."  # PEFT's copies, of tables trained whole and of trained rows
    copies = (p for n, p in model.named_parameters() if any(part in n for part in twice))
    total = trained + sum(p.numel() * (1 + (p.dtype == torch.uint8)) for p in frozen) - sum(p.numel() for p in copies)
    return {"trained": trained, "all": total, "share": trained / total}


def save_adapter(model, folder):
    """Write a PeftModel's trained parameters to `folder` in PEFT's format."""
    with paths.write_atomically(folder) as temporary:
        model.save_pretrained(temporary, save_embedding_layers=False)
        config = paths.read_json(temporary / "adapter_config.json")  # PEFT writes sets, whose order differs by process
        named = {name: sorted(config[name]) for name in ("target_modules", "exclude_modules") if config[name]}
        paths.write_json(temporary / "adapter_config.json", config | named)


def read_adapter(base, adapter):
    """A saved adapter on its base model (folder, asset or hub id): (PeftModel on CPU, dtype that the base is stored in)."""
    model, _ = loading.load_model(base, place="cpu")
    stored = model.dtype
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # PEFT reads trained rows in their table's dtype
        return PeftModel.from_pretrained(_widen_tables(model), str(adapter), torch_device="cpu"), stored


def merge_adapter(adapted, dtype):
    """The base of a PeftModel with its adapter merged: each weight is added to in float32 and rounded once, to `dtype`."""
    for name, module in adapted.named_modules():
        if isinstance(module, LoraLayer):
            module.get_base_layer().float()
            module.merge()
            round_weights(module.get_base_layer(), dtype, name)
    with warnings.catch_warnings(action="ignore"):  # PEFT's, about adapters that are merged already
        return round_weights(adapted.merge_and_unload(), dtype)


@torch.no_grad()
def round_weights(module, dtype, prefix=""):
    """Round a module's parameters to a dtype, in place, and return it; RoundingError when one is beyond the dtype's range.

    Rounding is stochastic (Connolly, Higham and Mary 2021): a weight goes up or down by chance, in proportion to nearness.
    Rounding to the nearest would undo most small changes of a bfloat16 base: it takes each back to where it came from.
    """
    limits = torch.finfo(dtype)
    for name, weight in module.named_parameters(prefix):
        exact, nearest = weight.float(), weight.to(dtype).float()
        if math.isfinite(exact.abs().max()) and not torch.isfinite(nearest).all():
            told = f"save_precision: {name} reaches {exact.abs().max():.3g}, and {str(dtype)[6:]} ends at {limits.max:.3g}"
            raise RoundingError(f"{told}; set save_precision: bfloat16 or float32. {KEPT}")
        if not torch.equal(exact, nearest):
            gaps = limits.eps * torch.exp2((torch.frexp(exact).exponent - 1).clamp(min=math.log2(limits.tiny)))
            chance = torch.rand(exact.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
            nearest += torch.where(chance * gaps < (exact - nearest).abs(), gaps.copysign(exact - nearest), 0.0)
        weight.data = nearest.to(dtype)
    return module


def measure_kept(model, tokenizer, lines, dtype):
    """Bits/byte of lines, and logits of token ids spread over the vocabulary; half-precision weights are cast to `dtype`."""
    for weight in _widen_tables(model).parameters():
        weight.data = weight.data.to(dtype) if weight.dtype in (torch.float16, torch.bfloat16) else weight.data
    ids = torch.arange(min(64, len(tokenizer)), device=model.device)[None] * max(1, len(tokenizer) // 64)
    with torch.no_grad(), torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
        return bits.bits_per_byte(model, tokenizer, lines), model.eval()(ids).logits.float()


def check_saved(folder, before, lines, dtype, place):
    """Reload a saved model and compare it with what `measure_kept` gave, in the same dtype, before it was rounded and saved.

    return  dict "trained", "saved" (bits/byte), "logit_error" (relative), "stored" (the dtype of the files)
    Raises RoundingError beyond BITS or LOGITS; RuntimeError when tied embeddings came apart (peft #1300).
    """
    model, tokenizer = loading.load_model(folder, dtype, place)
    tied, stored = (paths.read_json(folder / "config.json").get(name) for name in ("tie_word_embeddings", "dtype"))
    if tied not in (None, model.config.tie_word_embeddings):
        raise RuntimeError(f"input and output embeddings are {'not ' if tied else ''}tied after reloading. {KEPT}")
    (trained, logits), (saved, again) = before, measure_kept(model, tokenizer, lines, dtype)
    error = ((again - logits).norm() / logits.norm()).item()
    if not (abs(saved - trained) <= BITS * trained and error <= LOGITS[stored]):
        told = f"saved as {stored} the model needs {saved:.4f} bits/byte of held-out text, as trained {trained:.4f}"
        raise RoundingError(f"{told}; its logits differ by {error:.1%}. Set save_precision: float32. {KEPT}")
    return {"trained": trained, "saved": saved, "logit_error": error, "stored": stored}


def _widen_tables(model):
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        table.weight.data = table.weight.data.float()
    return model
