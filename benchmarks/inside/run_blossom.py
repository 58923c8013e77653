"""Ours: `blossom.training.fit`, for pretraining on packed blocks and for tuning on packed examples."""

import clock

asked, timer = clock.spec(), clock.Clock()

import json  # noqa: E402
from pathlib import Path  # noqa: E402

from blossom import models, training  # noqa: E402
from blossom.training import packing  # noqa: E402

model, tokenizer = models.load(asked["model"])
model = models.adapt(model, asked["trainable"], asked["rank"], asked["alpha"], asked["targets"])
rows = [json.loads(line) for line in Path(asked["text"]).read_text(encoding="utf-8").splitlines()]


class First:
    """The first rows of a dataset, as many as the run's steps need, in their order."""

    def __init__(self, dataset):
        self.dataset, self.ordered, self.key = dataset, True, "benchmark"

    def __len__(self):
        return asked["steps"] * asked["batch"]

    def __getitem__(self, i):
        return self.dataset[i % len(self.dataset)]


def example(row):
    """Prompt and completion as TRL spells them: the completion and an end token are learnt, the prompt is not."""
    prompt, answer = (tokenizer(row[name], add_special_tokens=False).input_ids for name in ("prompt", "completion"))
    answer.append(tokenizer.eos_token_id)
    return {"input_ids": prompt + answer, "labels": [packing.IGNORED] * len(prompt) + answer}


more = {}
if asked["task"] == "pretraining":
    start = models.start_token(tokenizer)
    stream = packing.tokenize([row["text"] for row in rows], tokenizer, start, folder=Path(asked["folder"]))
    dataset = First(packing.Blocks({"text": stream}, {"text": 1.0}, asked["sequence"]))
else:
    dataset = First(packing.pack_examples([example(row) for row in rows], asked["sequence"]))
    timed = range(asked["warm_steps"] * asked["batch"], len(dataset))
    more["examples_per_step"] = sum(int(dataset[i]["segments"].max()) for i in timed) / len(timed) * asked["batch"]
settings = training.Settings(batch_size=asked["batch"], precision="bfloat16" if asked["bf16"] else "float32")
result = training.fit(model, dataset, settings, asked["folder"])
timer.write(asked, loss=[row["loss"] for row in result["loss"]], **more)
