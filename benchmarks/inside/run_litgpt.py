"""litgpt's `pretrain` loop (its chunked loss) over its own LoRA model with the tied table trained.

It would compile the model; compiled by torch 2.13 for a processor, every loss of 2 x 512 tokens is NaN, so it is not.
Neither of its commands trains adapters and embeddings together: `finetune_lora` cannot train the table, `pretrain` has
no adapters. So its pretraining loop is given its LoRA model.
"""

import os
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # read when torch is imported

import clock

asked, timer = clock.spec(), clock.Clock()

import json  # noqa: E402

import lightning  # noqa: E402
import torch  # noqa: E402
from litgpt import pretrain  # noqa: E402
from litgpt.args import EvalArgs, TrainArgs  # noqa: E402
from litgpt.data import DataModule  # noqa: E402
from litgpt.lora import GPT, Config, LoRALayer, mark_only_lora_as_trainable  # noqa: E402
from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

hf = json.loads((Path(asked["model"]) / "config.json").read_text())
config = Config(
    name="SmolLM2-135M",
    block_size=hf["max_position_embeddings"],
    vocab_size=hf["vocab_size"],
    padded_vocab_size=hf["vocab_size"],
    n_layer=hf["num_hidden_layers"],
    n_head=hf["num_attention_heads"],
    n_embd=hf["hidden_size"],
    n_query_groups=hf["num_key_value_heads"],
    rotary_percentage=1.0,
    parallel_residual=False,
    bias=False,
    norm_class_name="RMSNorm",
    mlp_class_name="LLaMAMLP",
    intermediate_size=hf["intermediate_size"],
    rope_base=int(hf["rope_parameters"]["rope_theta"]),
    norm_eps=hf["rms_norm_eps"],
    lora_r=asked["rank"],
    lora_alpha=asked["alpha"],
    lora_query="q_proj" in asked["targets"],
    lora_key="k_proj" in asked["targets"],
    lora_value="v_proj" in asked["targets"],
)
loss = []


class Blocks(DataModule):
    """The run's text joined and cut into blocks of one token more than a sequence."""

    def __init__(self):
        super().__init__()
        tokenizer = Tokenizer.from_file(str(Path(asked["model"]) / "tokenizer.json"))
        texts = [json.loads(line)["text"] for line in Path(asked["text"]).read_text(encoding="utf-8").splitlines()]
        ids = [i for e in tokenizer.encode_batch(texts) for i in (*e.ids, asked["eos_id"])]
        size = asked["sequence"] + 1
        self.rows = [torch.tensor(ids[i : i + size]) for i in range(0, len(ids) - size, size)]

    def connect(self, tokenizer=None, batch_size=1, max_seq_length=None, **kwargs):
        """The batch size is the run's."""

    def train_dataloader(self):
        return DataLoader(self.rows, batch_size=asked["batch"], drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.rows[: asked["batch"]], batch_size=asked["batch"])


def load(fabric, model, **_):
    """In place of the random weights of pretraining: the checkpoint, one tied table, LoRA and the table to be trained."""
    weights, qkv = {}, {}
    copy_weights_hf_llama(config, qkv, weights, load_file(Path(asked["model"]) / "model.safetensors"))
    for module in model.modules():
        if isinstance(module, LoRALayer):
            module.reset_parameters()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all("lora_" in name for name in missing), (missing, unexpected)
    mark_only_lora_as_trainable(model)
    table = model.transformer.wte.weight.requires_grad_(True)
    if asked["tied"]:
        model.lm_head.linear.weight = table
    else:
        model.lm_head.linear.weight.requires_grad_(True)


pretrain.GPT, pretrain.initialize_weights = GPT, load
pretrain.save_checkpoint = lambda *_, **__: timer.write(asked, loss=loss)  # training is over
lightning.Fabric.log_dict = lambda self, metrics, step=None: loss.append(metrics["loss"])

pretrain.setup(
    "SmolLM2-135M",
    model_config=config,
    out_dir=Path(asked["folder"]),
    precision="bf16-mixed" if asked["bf16"] else "32-true",  # its defaults
    devices=1,
    data=Blocks(),
    train=TrainArgs(
        save_interval=None,
        log_interval=1,
        global_batch_size=asked["batch"],
        micro_batch_size=asked["batch"],
        max_tokens=asked["steps"] * asked["batch"] * asked["sequence"],
        max_norm=1.0,
        lr_warmup_steps=1,
        max_seq_length=asked["sequence"],
        tie_embeddings=False,
    ),
    eval=EvalArgs(interval=10**9, final_validation=False),
    logger_name="csv",
)
