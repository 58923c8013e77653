"""Models: load and check, resize, adapt, measure in bits per byte, merge, save.

A saved folder is what `from_pretrained` reads (safetensors, never pickle) plus `blossom.json`, a small record of the
tokenizer the weights belong to. `load` refuses a folder whose tokenizer is another one.
"""

import contextlib
import itertools
import math
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F

from blossom import assets, corpus, paths, tokenization

RECORD = "blossom.json"
TRAINABLE = ("lora+embeddings", "lora+new-rows", "full")


def device():
    """The device that work runs on: the CUDA card when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def dtype(precision="auto"):
    """The torch dtype of a precision's name; "auto" is bfloat16 where the processor multiplies it faster than float32."""
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if device().type == "cuda" else _cpu_multiplies_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]


def _cpu_multiplies_bfloat16():
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(check() for check in checks if check)


# ---------------------------------------------------------------------------------------------------------- in and out


def load(name, dtype=None, place=None):
    """A causal language model and its tokenizer, in eval mode.

    name    asset name, folder or hub id
    dtype   torch dtype of the weights; None keeps the stored one
    place   device that the weights go to; None takes `device()`
    return  (model, tokenizer)

    Raises ValueError when tokenizer and weights do not belong together, naming both sizes, or the folder is not what
    `assets.check_model` asks, or lacks weights; RuntimeError or ValueError of `assets.fetch` when there is no such model.
    """
    folder = assets.fetch(str(name))
    assets.check_model(folder, name)
    tokenizer = tokenization.load(name)
    model = _read(folder, name, dtype or "auto")
    check(model, tokenizer, folder)
    return model.eval().to(place or device()), tokenizer


@contextlib.contextmanager
def aside(model):
    """Hold `model` in the machine's memory meanwhile: two large ones do not fit on one card. Without a card, nothing."""
    place = next(model.parameters()).device
    if place.type == "cuda":
        model.to("cpu")
        torch.cuda.empty_cache()
    try:
        yield
    finally:
        model.to(place)


def _read(folder, name, dtype):
    from transformers import AutoModelForCausalLM

    safe = {"use_safetensors": True, "trust_remote_code": False}  # left unsaid, transformers asks the user at the keyboard
    try:
        model, told = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True, **safe)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{name}: its files do not load ({type(error).__name__}: {reason}); copy them again") from None
    if absent := sorted(told["missing_keys"]):  # transformers would start these at random
        raise ValueError(f"{name}: its files lack {len(absent)} weights that its config.json asks for, first {absent[0]}")
    return model


def check(model, tokenizer, folder=None):
    """Raise ValueError unless `tokenizer` fits `model` (and, with a folder, is the one the folder's record names)."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ValueError(
            f"{folder or 'model'}: the tokenizer has {len(tokenizer)} tokens and the model {rows} embedding rows; "
            "take the model that was saved with this tokenizer, or run notebook 02, which resizes"
        )
    record = Path(folder or "") / RECORD
    if folder and record.exists():
        expected, found = paths.read_json(record), describe(model, tokenizer)
        wrong = [key for key in ("vocabulary", "rows", "tokenizer_sha256", "tied") if expected[key] != found[key]]
        if wrong:
            told = "; ".join(f"{key}: saved with {expected[key]}, found {found[key]}" for key in wrong)
            raise ValueError(f"{folder}: its files do not belong together ({told})")


def describe(model, tokenizer):
    """What a saved model's record says: sizes, padding, which rows are new, and the tokenizer's digest."""
    import hashlib

    return {
        "vocabulary": len(tokenizer),
        "rows": model.get_input_embeddings().weight.shape[0],
        "first_new_row": first_new_row(model),
        "tied": bool(model.config.tie_word_embeddings),
        "pad_id": tokenizer.pad_token_id,
        "eos_id": tokenizer.eos_token_id,
        "tokenizer_sha256": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
    }


def first_new_row(model):
    """The id of the first token that the base model did not have; None when no rows were added."""
    return getattr(model.config, "first_new_row", None)


def save(model, tokenizer, folder):
    """Write weights (safetensors), tokenizer and record to `folder`, whole or not at all.

    Raises ValueError when a weight is not a finite number, naming it.
    """
    check(model, tokenizer)
    broken = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if broken:
        raise ValueError(f"not saved: {len(broken)} weights are not finite, first {broken[0]}")
    with paths.written(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        paths.write_json(temporary / RECORD, describe(model, tokenizer))


def resize(model, first, rows, head_rows=None):
    """Give the model new rows for the tokens from id `first` on; remembers `first` for `lora+new-rows`.

    model      changed in place; rows of the base beyond `first` (padding) are dropped
    rows       (N, D) input embeddings of the new tokens
    head_rows  (N, D) their output embeddings; None takes `rows` (and must be None when the two tables are tied)
    """
    tied = model.config.tie_word_embeddings
    if tied and head_rows is not None:
        raise ValueError("head_rows: this base ties its input and output embeddings, so one set of rows serves both")
    tables = [model.get_input_embeddings().weight.data[:first].clone()]
    if not tied:
        tables.append(model.get_output_embeddings().weight.data[:first].clone())
    model.resize_token_embeddings(first + len(rows), mean_resizing=False)
    targets = [model.get_input_embeddings(), model.get_output_embeddings()]
    for target, old, new in zip(targets, tables, [rows, rows if head_rows is None else head_rows], strict=False):
        target.weight.data.copy_(torch.cat([old, new.to(old)]))
    model.config.first_new_row = first


# ------------------------------------------------------------------------------------------------------- bits per byte


def start_token(tokenizer):
    """The id that a document is read after, the one the base saw there when it was pretrained.

    BOS where the tokenizer puts one before text by itself; else `<|endoftext|>` where there is one (SmolLM2, Qwen: BOS
    and EOS of their chat models mark turns, not documents); else BOS; else EOS. Packing and `bits_per_byte` share it.
    """
    bos, separator = tokenizer.bos_token_id, tokenizer.get_vocab().get("<|endoftext|>")
    if bos is not None and tokenizer("a").input_ids[:1] == [bos]:
        return bos
    start = next((id for id in (separator, bos, tokenizer.eos_token_id) if id is not None), None)
    if start is None:
        raise ValueError("the tokenizer has neither BOS nor EOS, so documents cannot be told apart; add an EOS token")
    return start


def end_token(tokenizer):
    """The id that ends a document: EOS where documents begin with a BOS of their own, else None (the next start tells)."""
    start = start_token(tokenizer)
    return tokenizer.eos_token_id if start == tokenizer.bos_token_id != tokenizer.eos_token_id else None


@torch.no_grad()
def bits_per_byte(model, tokenizer, lines, batch_tokens=4096):
    """How many bits the model needs for one byte of text: comparable between tokenizers, lower is better.

    Each line is a document of its own: the model sees `start_token` and then predicts every token of the line from
    those before it; the start itself and the end are not counted.

        bits/byte = sum of -ln p(token | start, tokens before) over all lines / ln 2 / UTF-8 bytes of all lines

    lines         non-empty list of str; a line of more tokens than the model has positions goes in pieces
    batch_tokens  most tokens (with padding) of a forward pass
    return        float; log-softmax in float32 whatever the model's dtype
    """
    if not lines:
        raise ValueError("bits_per_byte: no lines to measure")
    was_training, _ = model.training, model.eval()
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    start, longest = start_token(tokenizer), min(model.config.max_position_embeddings, 2048) - 1
    encoded = tokenizer(list(lines), add_special_tokens=False).input_ids
    documents = [[start, *ids[i : i + longest]] for ids in encoded for i in range(0, len(ids), longest)]
    documents.sort(key=len)
    nats = sum(_nats(causal, *batch) for batch in _batches(documents, batch_tokens))
    model.train(was_training)
    return nats / math.log(2) / corpus.utf8_bytes(lines)


def measure(model, tokenizer, texts):
    """Bits per byte of several texts: dict name -> lines becomes dict name -> float."""
    return {name: bits_per_byte(model, tokenizer, lines) for name, lines in texts.items()}


def _batches(documents, batch_tokens):
    """Groups of documents of like length, with the length to pad them to, at most `batch_tokens` in all (one document at
    least). Few different sizes: on CPU every new size of a product costs a compilation."""
    for width, alike in itertools.groupby(documents, lambda d: -(-(len(d) - 1) // 32) * 32 + 1):
        alike = list(alike)
        count = max(1, batch_tokens // width)
        yield from ((width, alike[i : i + count]) for i in range(0, len(alike), count))


def _nats(causal, width, documents, chunk=512):
    """Sum of -ln p over a batch of documents, their first tokens given. Pads stand at the end, where causal attention
    keeps them from every real token, so no mask is needed; logits are made for real tokens alone, `chunk` at a time."""
    place = causal.get_input_embeddings().weight.device
    ids = torch.tensor([d + [0] * (width - len(d)) for d in documents], device=place)  # (B, T)
    length = torch.tensor([len(d) for d in documents], device=place)
    real = torch.arange(1, width, device=place) < length[:, None]  # (B, T-1): is there a token to predict?
    hidden = causal.get_decoder()(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[real]  # (N, D)
    targets, head, over = ids[:, 1:][real], causal.get_output_embeddings(), -len(hidden) % 64
    hidden, targets = F.pad(hidden, (0, 0, 0, over)), F.pad(targets, (0, over), value=-100)  # -100: not counted
    pieces = zip(hidden.split(chunk), targets.split(chunk), strict=True)
    return sum(F.cross_entropy(head(h).float(), t, reduction="sum").item() for h, t in pieces)


# ------------------------------------------------------------------------------------------- what is trained, and merge


def adapt(model, trainable, rank=16, alpha=32, targets=("q_proj", "k_proj", "v_proj")):
    """Choose what learns. Figure 1 of the paper: LoRA on query, key and value plus the word embeddings.

    trainable  "lora+embeddings" (the paper), "lora+new-rows" (of the embeddings only the added rows) or "full"
    targets    names of the projections that get adapters of rank `rank`, scaled by alpha / rank
    return     a PeftModel, or the model itself when "full"

    Raises ValueError: no projection of these names (says which there are), no new rows to train.
    """
    from peft import LoraConfig, get_peft_model

    if trainable == "full":
        return model.requires_grad_(True)
    linear = {name.split(".")[-1] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    missing = [t for t in targets if t not in linear]
    if missing:
        raise ValueError(f"lora_targets: the base has no {', '.join(missing)}; it has {', '.join(sorted(linear))}")
    tied, names = model.config.tie_word_embeddings, embedding_names(model)
    rows = {}
    if trainable == "lora+embeddings":
        rows = {"modules_to_save": names[:1] if tied else names, "ensure_weight_tying": tied}
    else:
        first, size = first_new_row(model), model.get_input_embeddings().weight.shape[0]
        if first is None or first >= size:
            raise ValueError("trainable: 'lora+new-rows' needs a model with added rows; this one has none (run 02 first)")
        rows = {"trainable_token_indices": {name: list(range(first, size)) for name in (names[:1] if tied else names)}}
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), task_type="CAUSAL_LM", **rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers for a property by its old name
        return get_peft_model(model, config)


def embedding_names(model):
    """The last names of the input and output embedding modules, e.g. ["embed_tokens", "lm_head"]."""
    wanted = (model.get_input_embeddings(), model.get_output_embeddings())
    return [next(name for name, m in model.named_modules() if m is w).split(".")[-1] for w in wanted]


def trainable_share(model):
    """Figure 1's red over red and blue: trained parameters over all of the model with what it adds, tied tables once.

    return  dict: "trained" and "all" (numbers of parameters), "share" (trained / all)
    """
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = trained + sum(p.numel() for n, p in model.named_parameters() if not p.requires_grad and not _shadow(n))
    return {"trained": trained, "all": total, "share": trained / total}


def _shadow(name):
    """Is this the untrained copy that PEFT keeps beside a table that is trained whole?"""
    return ".original_module." in name


def save_adapter(model, folder):
    """Write what was trained (a PeftModel's adapters and rows) to `folder` in PEFT's format, whole or not at all."""
    with paths.written(folder) as temporary:
        model.save_pretrained(temporary, save_embedding_layers=False)


def save_checked(model, tokenizer, target, tolerance=1e-3):
    """Save a model that was trained whole, reload it, and compare logits; returns their largest difference (see `merge`)."""
    probe = _probe(tokenizer, device())
    with torch.no_grad(), paths.written(target) as temporary:
        before = model.eval()(probe).logits.float()
        save(model, tokenizer, temporary)
        difference = (load(temporary)[0](probe).logits.float() - before).abs().max().item()
        if not difference <= tolerance:
            raise RuntimeError(f"{target}: logits changed by {difference:.2e} at saving; expected at most {tolerance:.0e}")
    return difference


def _probe(tokenizer, place):
    """Sixty-four ids from all over the vocabulary, (1, 64)."""
    return torch.arange(min(64, len(tokenizer)), device=place)[None] * max(1, len(tokenizer) // 64)


def merge(base, adapter, target, tokenizer=None, tolerance=1e-3):
    """Add a saved adapter to its base, save, reload from disk, and make sure that nothing was lost.

    All of it in the machine's memory, which has room where the card, with the model just trained on it, has none.

    base, adapter   folders (base also asset name or hub id); base weights at their stored precision
    target          folder to write
    tokenizer       to save with it (its chat template may be new); None takes the base's
    tolerance       largest difference of float32 logits between base+adapter and what was reloaded
    return          the largest difference found

    Raises RuntimeError, and leaves no folder, when logits differ by more or tied embeddings came apart (peft #1300,
    transformers #45127).
    """
    from peft import PeftModel

    model, own = load(base, place="cpu")
    tokenizer = tokenizer or own
    adapted = PeftModel.from_pretrained(model, str(adapter), torch_device="cpu").eval()
    probe = _probe(tokenizer, "cpu")
    with torch.no_grad():
        before = adapted(probe).logits.float()
    merged = adapted.merge_and_unload()
    with paths.written(target) as temporary:
        save(merged, tokenizer, temporary)
        del model, adapted, merged
        again, _ = load(temporary, place="cpu")
        with torch.no_grad():
            difference = (again(probe).logits.float() - before).abs().max().item()
        ties = again.get_input_embeddings().weight.data_ptr() == again.get_output_embeddings().weight.data_ptr()
        limit = tolerance if again.dtype == torch.float32 else 50 * tolerance  # two bfloat16 roundings apart
        if not difference <= limit:
            raise RuntimeError(f"{target}: logits changed by {difference:.2e} at merging; expected at most {limit:.0e}")
        if ties != bool(again.config.tie_word_embeddings):
            raise RuntimeError(f"{target}: input and output embeddings are {'tied' if ties else 'not tied'} after reloading")
    return difference
