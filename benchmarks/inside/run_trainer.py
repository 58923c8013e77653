"""Plain transformers Trainer, as its run_clm example trains: texts joined, cut into blocks, full logits."""

import clock

asked, timer = clock.spec(), clock.Clock()

from itertools import chain  # noqa: E402

from datasets import load_dataset  # noqa: E402
from lora import adapted  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, default_data_collator  # noqa: E402

tokenizer = AutoTokenizer.from_pretrained(asked["model"])
block = asked["sequence"]


def blocks(rows):
    """run_clm's group_texts: all texts of a batch as one, in blocks of one length, the rest dropped."""
    ids = list(chain.from_iterable(tokenizer(text + tokenizer.eos_token)["input_ids"] for text in rows["text"]))
    cut = [ids[i : i + block] for i in range(0, len(ids) - block + 1, block)]
    return {"input_ids": cut, "labels": [list(c) for c in cut]}


dataset = load_dataset("json", data_files=asked["text"], split="train", cache_dir=asked["folder"])
dataset = dataset.map(blocks, batched=True, remove_columns=dataset.column_names)
trainer = Trainer(
    model=adapted(AutoModelForCausalLM.from_pretrained(asked["model"]), asked),
    train_dataset=dataset,
    data_collator=default_data_collator,
    args=TrainingArguments(**clock.arguments(asked)),
)
trainer.train()
timer.write(asked, loss=[row["loss"] for row in trainer.state.log_history if "loss" in row])
