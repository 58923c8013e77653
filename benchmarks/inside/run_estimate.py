"""What our own estimate says of a run beforehand: bytes at the peak."""

import clock

asked = clock.spec()

import json  # noqa: E402
from pathlib import Path  # noqa: E402
from types import SimpleNamespace  # noqa: E402

from blossom.batch.estimate import estimate_run  # noqa: E402

p = SimpleNamespace(
    trainable=asked["trainable"],
    lora_rank=asked["rank"],
    lora_alpha=asked["alpha"],
    lora_targets=asked["targets"],
    precision="bfloat16" if asked["bf16"] else "float32",
    activation_checkpointing=False,
    quantize="none",
    liger=False,
    optimizer="adamw",
)
expected = estimate_run(p, asked["model"], asked["batch"], asked["sequence"])
Path(asked["result"]).write_text(json.dumps({"memory": expected}))
