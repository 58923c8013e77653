"""The time of one step's matrix products by themselves: each shape that the step multiplies, timed alone, summed.

Frozen weights are multiplied twice (forward, gradient of the input), trained ones three times (gradient of the weight).
Attention's own products (scores and values) are counted apart.
"""

import time

import clock

asked, timer = clock.spec(), clock.Clock()

import json  # noqa: E402
from pathlib import Path  # noqa: E402

import torch  # noqa: E402

model = json.loads((Path(asked["model"]) / "config.json").read_text())
dtype = torch.bfloat16 if asked["bf16"] else torch.float32


def seconds(function):
    """Median time of one call, over a tenth of a second of calls, the first two left out."""
    function(), function()
    times, end = [], time.perf_counter() + 0.1
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def linear(tokens, wide, narrow, trained):
    """(seconds, floating-point operations) of tokens x wide -> narrow, forward and backward."""
    x, w, g = (torch.randn(shape, dtype=dtype) for shape in ((tokens, wide), (narrow, wide), (tokens, narrow)))
    products = [lambda: x @ w.T, lambda: g @ w, *([lambda: g.T @ x] if trained else [])]
    return sum(map(seconds, products)), 2 * len(products) * tokens * wide * narrow


def attention(sequences, heads, length, width):
    """Likewise of one layer's scores and values, whole squares (no use is made of the causal half)."""
    q, s = (
        torch.randn(sequences * heads, length, width, dtype=dtype),
        torch.randn(sequences * heads, length, length, dtype=dtype),
    )
    products = [lambda: q @ q.mT] * 2 + [lambda: s @ q] * 4  # forward 1 + 1, backward 1 + 3
    return sum(map(seconds, products)), 2 * len(products) * sequences * heads * length * length * width


tokens, hidden, rank = asked["batch"] * asked["sequence"], model["hidden_size"], asked["rank"]
head, inner = hidden // model["num_attention_heads"], model["intermediate_size"]
queries, keys = (model[f"num_{name}_heads"] * head for name in ("attention", "key_value"))
shapes = {"q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys), "o_proj": (queries, hidden)}
shapes |= {"gate_proj": (hidden, inner), "up_proj": (hidden, inner), "down_proj": (inner, hidden)}
layer = [linear(tokens, *shape, False) for shape in shapes.values()]
for name in asked["targets"]:
    layer += [linear(tokens, shapes[name][0], rank, True), linear(tokens, rank, shapes[name][1], True)]
square = attention(asked["batch"], model["num_attention_heads"], asked["sequence"], head)
predicted, rows = asked.get("labelled", tokens), model["vocab_size"]
if asked["trainable"] == "lora+new-rows":  # the head's gradient is needed for the new rows alone
    new = rows - asked["first_new_row"]
    table = [linear(predicted, hidden, rows - new, False), linear(predicted, hidden, new, True)]
else:
    table = [linear(predicted, hidden, rows, True)]
layers = model["num_hidden_layers"]
total = {
    "layers": [layers * sum(column) for column in zip(*layer, strict=True)],
    "head": [sum(column) for column in zip(*table, strict=True)],
    "attention": [layers * value for value in square],
}
result = {f"{name}_seconds": value[0] for name, value in total.items()}
result |= {f"{name}_gflop": value[1] / 1e9 for name, value in total.items()}
Path(asked["result"]).write_text(json.dumps(result))
