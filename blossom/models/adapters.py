"""What of a model learns, and how what was learnt is kept: adapters, their merge, and its proof on a reloaded model."""

import contextlib
import warnings

import torch

from blossom.common import paths
from blossom.models.loading import first_new_row, load_model, pick_device, save_model


def adapt_model(model, trainable, rank=16, alpha=32, targets=("q_proj", "k_proj", "v_proj")):
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
    tied, names = model.config.tie_word_embeddings, _embedding_names(model)
    rows = {}
    if trainable == "lora+embeddings":
        rows = {"modules_to_save": names[:1] if tied else names, "ensure_weight_tying": tied}
    else:
        first, size = first_new_row(model), model.get_input_embeddings().weight.shape[0]
        if first is None or first >= size:
            raise ValueError("trainable: 'lora+new-rows' needs a model with added rows; this one has none (run 02 first)")
        rows = {"trainable_token_indices": {name: list(range(first, size)) for name in (names[:1] if tied else names)}}
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), task_type="CAUSAL_LM", **rows)
    with _no_warning():
        return get_peft_model(model, config)


@contextlib.contextmanager
def _no_warning():
    """PEFT asks transformers for a property by its old name; no reader can do anything about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _embedding_names(model):
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
    with paths.write_atomically(folder) as temporary:
        model.save_pretrained(temporary, save_embedding_layers=False)


def save_checked(model, tokenizer, target, tolerance=1e-3):
    """Save a model that was trained whole, reload it, and compare logits; returns their largest difference.

    Raises RuntimeError, and leaves no folder, when they differ by more than `tolerance` (see `merge_adapter`).
    """
    probe = _probe(tokenizer, pick_device())
    with torch.no_grad(), paths.write_atomically(target) as temporary:
        before = model.eval()(probe).logits.float()
        save_model(model, tokenizer, temporary)
        difference = (load_model(temporary)[0](probe).logits.float() - before).abs().max().item()
        if not difference <= tolerance:
            raise RuntimeError(f"{target}: logits changed by {difference:.2e} at saving; expected at most {tolerance:.0e}")
    return difference


def _probe(tokenizer, place):
    """Sixty-four ids from all over the vocabulary, (1, 64)."""
    return torch.arange(min(64, len(tokenizer)), device=place)[None] * max(1, len(tokenizer) // 64)


def merge_adapter(base, adapter, target, tokenizer=None, tolerance=1e-3):
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

    model, own = load_model(base, place="cpu")
    tokenizer = tokenizer or own
    with _no_warning():
        adapted = PeftModel.from_pretrained(model, str(adapter), torch_device="cpu").eval()
    probe = _probe(tokenizer, "cpu")
    with torch.no_grad():
        before = adapted(probe).logits.float()
    merged = adapted.merge_and_unload()
    with paths.write_atomically(target) as temporary:
        save_model(merged, tokenizer, temporary)
        del model, adapted, merged
        again, _ = load_model(temporary, place="cpu")
        with torch.no_grad():
            difference = (again(probe).logits.float() - before).abs().max().item()
        ties = again.get_input_embeddings().weight.data_ptr() == again.get_output_embeddings().weight.data_ptr()
        limit = tolerance if again.dtype == torch.float32 else 50 * tolerance  # two bfloat16 roundings apart
        if not difference <= limit:
            raise RuntimeError(f"{target}: logits changed by {difference:.2e} at merging; expected at most {limit:.0e}")
        if ties != bool(again.config.tie_word_embeddings):
            raise RuntimeError(f"{target}: input and output embeddings are {'tied' if ties else 'not tied'} after reloading")
    return difference
