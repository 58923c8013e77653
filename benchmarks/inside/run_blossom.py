"""Ours: `train_model`, for pretraining on packed blocks and for tuning on packed examples."""

import clock

asked, timer = clock.spec(), clock.Clock()

import json  # noqa: E402
from pathlib import Path  # noqa: E402

from blossom.models.adapters import adapt_model  # noqa: E402
from blossom.models.bits import start_token  # noqa: E402
from blossom.models.loading import load_model  # noqa: E402
from blossom.training.loop import train_model  # noqa: E402
from blossom.training.packing import IGNORED, Blocks, pack_examples, tokenize_documents  # noqa: E402
from blossom.training.settings import TrainingSettings  # noqa: E402

model, tokenizer = load_model(asked["model"])
model = adapt_model(model, asked["trainable"], asked["rank"], asked["alpha"], asked["targets"])
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
    return {"input_ids": prompt + answer, "labels": [IGNORED] * len(prompt) + answer}


more = {}
if asked["task"] == "pretraining":
    start = start_token(tokenizer)
    stream = tokenize_documents([row["text"] for row in rows], tokenizer, start, folder=Path(asked["folder"]))
    dataset = First(Blocks({"text": stream}, {"text": 1.0}, asked["sequence"]))
else:
    dataset = First(pack_examples([example(row) for row in rows], asked["sequence"]))
    timed = range(asked["warm_steps"] * asked["batch"], len(dataset))
    more["examples_per_step"] = sum(int(dataset[i]["segments"].max()) for i in timed) / len(timed) * asked["batch"]
settings = TrainingSettings(batch_size=asked["batch"], precision="bfloat16" if asked["bf16"] else "float32")
result = train_model(model, dataset, settings, asked["folder"])
timer.write(asked, loss=[row["loss"] for row in result["loss"]], **more)
