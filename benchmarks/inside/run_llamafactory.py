"""LLaMA-Factory's `stage: pt` with its own packing, loss and trainer."""

import json
import os
from pathlib import Path

import clock

asked, timer = clock.spec(), clock.Clock()
os.environ["DISABLE_VERSION_CHECK"] = "1"

import peft  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

if asked["tied"]:  # it has no setting for tied tables; without this PEFT unties them and the head is not trained

    class Tied(peft.LoraConfig):
        def __post_init__(self):
            self.ensure_weight_tying = True
            super().__post_init__()

    peft.LoraConfig = Tied

from llamafactory.train.tuner import run_exp  # noqa: E402

folder = Path(asked["folder"])
info = {"bench": {"file_name": asked["text"], "columns": {"prompt": "text"}}}
(folder / "dataset_info.json").write_text(json.dumps(info))


class Finish(TrainerCallback):
    """Writes the result when training ends, before the model is saved."""

    def on_train_end(self, args, state, control, **kwargs):
        timer.write(asked, loss=[row["loss"] for row in state.log_history if "loss" in row])


run_exp(
    {
        "model_name_or_path": asked["model"],
        "stage": "pt",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": asked["rank"],
        "lora_alpha": asked["alpha"],
        "lora_target": ",".join(asked["targets"]),
        "additional_target": "embed_tokens" if asked["tied"] else "embed_tokens,lm_head",
        "dataset": "bench",
        "dataset_dir": str(folder),
        "cutoff_len": asked["sequence"],
        "disable_gradient_checkpointing": True,
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": asked["batch"],
        "max_steps": asked["steps"],
        "learning_rate": 1e-3,
        "bf16": asked["bf16"],
        "use_cpu": not asked.get("cuda"),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    },
    callbacks=[Finish()],
)
