"""The trained parameters of the paper, set up with PEFT: LoRA on q, k, v and the word embeddings (or their new rows)."""

from peft import LoraConfig, get_peft_model


def configuration(model, asked):
    """The LoraConfig of a run; "new-rows" trains the rows from `first_new_row` on, "embeddings" the whole tied table."""
    tied, names = model.config.tie_word_embeddings, ["embed_tokens", "lm_head"]
    if asked["trainable"] == "lora+new-rows":
        new = list(range(asked["first_new_row"], model.get_input_embeddings().weight.shape[0]))
        rows = {"trainable_token_indices": {name: new for name in (names[:1] if tied else names)}}
    else:
        rows = {"modules_to_save": names[:1] if tied else names, "ensure_weight_tying": tied}
    shape = {"r": asked["rank"], "lora_alpha": asked["alpha"], "target_modules": asked["targets"]}
    return LoraConfig(task_type="CAUSAL_LM", **shape, **rows)


def adapted(model, asked):
    """The model with adapters, the rest frozen."""
    return get_peft_model(model, configuration(model, asked))
