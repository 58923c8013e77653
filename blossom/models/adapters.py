"""Choose the trained parameters of a model; merge trained adapters into the weights and check the saved model."""

import warnings

import torch

from blossom.common.paths import write_atomically
from blossom.models.loading import first_new_row, load_model, pick_device, save_model

TOLERANCE = 1e-3  # largest difference of a float32 logit after saving and reloading


def adapt_model(model, trainable, rank=16, alpha=32, targets=("q_proj", "k_proj", "v_proj"), seed=0):
    """Make some of a model's parameters trainable (figure 1): LoRA on query, key and value, plus word embeddings.

    trainable  "lora+embeddings" (the paper), "lora+new-rows" (only the added embedding rows), "lora" (no rows) or "full"
    targets    last names of the projections that get adapters
    seed       set in torch's generators, so that adapters start the same in every process
    return     a PeftModel, or the model itself when "full"

    Raises ValueError when the model has no such projection, or no added rows to train.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    if trainable == "full":
        return model.requires_grad_(True)
    linear = {name.split(".")[-1] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    if missing := [t for t in targets if t not in linear]:
        raise ValueError(f"lora_targets: the base has no {', '.join(missing)}; it has {', '.join(sorted(linear))}")
    tied = model.config.tie_word_embeddings
    tables = [model.get_input_embeddings()] + ([] if tied else [model.get_output_embeddings()])
    names = [next(name for name, m in model.named_modules() if m is table).split(".")[-1] for table in tables]
    if trainable == "lora":
        rows = {}
    elif trainable == "lora+embeddings":
        rows = {"modules_to_save": names, "ensure_weight_tying": tied}
    else:
        first, size = first_new_row(model), len(tables[0].weight)
        if first is None or first >= size:
            raise ValueError("trainable: 'lora+new-rows' needs a model with added rows; this one has none (run 02 first)")
        rows = {"trainable_token_indices": {name: list(range(first, size)) for name in names}}
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), task_type="CAUSAL_LM", **rows)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # PEFT uses an old name of transformers
        return get_peft_model(model, config)


def trainable_share(model):
    """dict "trained", "all" (numbers of parameters; tied tables count once) and "share" (trained / all)."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = (p for n, p in model.named_parameters() if not p.requires_grad)
    copies = (p for n, p in model.named_parameters() if ".original_module." in n)  # PEFT's, of tables trained whole
    total = trained + sum(p.numel() for p in frozen) - sum(p.numel() for p in copies)
    return {"trained": trained, "all": total, "share": trained / total}


def save_adapter(model, folder):
    """Write a PeftModel's trained parameters to `folder` in PEFT's format."""
    with write_atomically(folder) as temporary:
        model.save_pretrained(temporary, save_embedding_layers=False)


def save_checked(model, tokenizer, target):
    """Save a model without adapters, reload it and compare the logits; returns and raises as `merge_adapter`."""
    before = _probe_logits(model.eval(), tokenizer)
    with write_atomically(target) as temporary:
        save_model(model, tokenizer, temporary)
        return _compare_reloaded(temporary, target, before, TOLERANCE, pick_device())


def merge_adapter(base, adapter, target, tokenizer=None):
    """Merge a saved adapter into its base model, save the result, reload it and compare the logits.

    base, adapter   folders; base may also be an asset or hub id, and is read at its stored precision
    tokenizer       saved with the model (its chat template may be new); None takes the base's
    return          the largest difference of logits

    Raises RuntimeError, and leaves no folder, when the logits differ too much or tied embeddings came apart
    (peft #1300, transformers #45127). Runs on CPU: a GPU may have no room beside the model just trained.
    """
    from peft import PeftModel

    model, own = load_model(base, place="cpu")
    tokenizer = tokenizer or own
    limit = TOLERANCE if model.dtype == torch.float32 else 50 * TOLERANCE  # bfloat16 is rounded twice
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        adapted = PeftModel.from_pretrained(model, str(adapter), torch_device="cpu").eval()
    before = _probe_logits(adapted, tokenizer)
    merged = adapted.merge_and_unload()
    with write_atomically(target) as temporary:
        save_model(merged, tokenizer, temporary)
        del model, adapted, merged
        return _compare_reloaded(temporary, target, before, limit, "cpu")


def _compare_reloaded(folder, target, before, limit, place):
    model, tokenizer = load_model(folder, place=place)
    difference = (_probe_logits(model, tokenizer) - before).abs().max().item()
    if not difference <= limit:
        raise RuntimeError(f"{target}: logits changed by {difference:.2e} at saving; expected at most {limit:.0e}")
    ties = model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()
    if ties != bool(model.config.tie_word_embeddings):
        raise RuntimeError(f"{target}: input and output embeddings are {'tied' if ties else 'not tied'} after reloading")
    return difference


@torch.no_grad()
def _probe_logits(model, tokenizer):
    """Float32 logits of 64 token ids spread over the vocabulary."""
    ids = torch.arange(min(64, len(tokenizer)), device=model.device)[None] * max(1, len(tokenizer) // 64)
    return model(ids).logits.float()
