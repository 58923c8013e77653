"""TRL's SFTTrainer: wrapped packing for pretraining; prompt and completion, loss on the completion alone, for tuning."""

import clock

asked, timer = clock.spec(), clock.Clock()

from datasets import load_dataset  # noqa: E402
from lora import configuration  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

model = AutoModelForCausalLM.from_pretrained(asked["model"])
if asked["task"] == "pretraining":
    task = {"packing": True, "packing_strategy": "wrapped"}
else:
    task = {"packing": False, "completion_only_loss": True}
trainer = SFTTrainer(
    model=model,
    processing_class=AutoTokenizer.from_pretrained(asked["model"]),
    train_dataset=load_dataset("json", data_files=asked["text"], split="train", cache_dir=asked["folder"]),
    peft_config=configuration(model, asked),
    args=SFTConfig(
        **clock.arguments(asked),
        max_length=asked["sequence"],
        loss_type=asked.get("loss_type", "nll"),
        gradient_checkpointing=False,
        **task,
    ),
)
trainer.train()
timer.write(asked, loss=[row["loss"] for row in trainer.state.log_history if "loss" in row])
