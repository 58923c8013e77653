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
        output_dir=asked["folder"],
        max_length=asked["sequence"],
        per_device_train_batch_size=asked["batch"],
        max_steps=asked["steps"],
        learning_rate=1e-3,
        loss_type=asked.get("loss_type", "nll"),
        gradient_checkpointing=False,
        bf16=asked["bf16"],
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **task,
    ),
)
trainer.train()
timer.write(asked, loss=[row["loss"] for row in trainer.state.log_history if "loss" in row])
