"""Errors of vocabularies, models and training."""

# fmt: off
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
from tokenizers import pre_tokenizers

from blossom.generation.answers import generate_answers
from blossom.instructions.templates import find_template
from blossom.models import bits
from blossom.models.loading import load_model
from blossom.training import learner, loop, packing, settings
from blossom.vocabulary import bases, loading, pieces
from tests.errors.table import case
from tests.tiny import adapted, some_rows

VOCAB = "tokenizers and vocabulary (01, 02)"

case(VOCAB, "a donor in the wrong script", ValueError, "donor", "none of its 2 pieces", "2 in another script")(
    lambda: pieces.clean_pieces(bases.read_base("tiny-byte-level"), ["кот", "пёс"], pieces.script_pattern(["Hangul"])))

@case(VOCAB, "a donor to be trained, on text without Korean", ValueError, "donor", "korean_texts", "scripts")
def no_korean():
    base = bases.read_base("tiny-byte-level")
    pieces.train_pieces(base, pieces.count_runs(base, ["only English"], pieces.script_pattern(["Hangul"])), 10)


MODELS = "models"

@case(MODELS, "weights that are not numbers", ValueError, "NaN or Inf in 1 weights", "model.norm.weight")
def nan_weights(broken):
    def change(data):
        weights = safetensors.torch.load(data)
        weights["model.norm.weight"][3] = float("nan")
        return safetensors.torch.save(weights, {"format": "pt"})

    load_model(broken("model.safetensors", change))

def no_numbers(broken):  # the root of a negative number, in every layer
    return load_model(broken("config.json", lambda data: data.replace(b'"rms_norm_eps": 1e-06', b'"rms_norm_eps": -1.0')))

case(MODELS, "a model whose probabilities are not numbers", ValueError, "NaN or Inf as a probability", "config.json")(
    lambda broken: bits.bits_per_byte(*no_numbers(broken), ["Open the door."]))
case(MODELS, "a model whose answers would be chosen by NaN", ValueError, "NaN or Inf as a logit", "config.json")(
    lambda broken: generate_answers(*no_numbers(broken), ["Hi"], "newline"))

@case(MODELS, "a tokenizer that leaves the text out", ValueError, "100% of the text is unknown", "with bytes")
def no_letters():
    model, tokenizer = load_model("tiny-byte-level")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    bits.bits_per_byte(model, tokenizer, ["온도를 낮춥니다"])

@case(MODELS, "several chat templates, none called default", ValueError, "rag, tool_use", "default", "chatml")
def no_default():
    tokenizer = loading.load_tokenizer("tiny-byte-level")
    tokenizer.chat_template = {"default": "one", "rag": "two"}
    assert find_template("own", tokenizer) == "one"
    tokenizer.chat_template = {"rag": "two", "tool_use": "three"}
    find_template("own", tokenizer)


TRAIN = "training (03)"
STEPS = settings.TrainingSettings(batch_size=2, precision="float32")


class OneOrder(list):
    ordered = True


def rows(ids=range(20, 32), labels=None, count=2):
    return [{"input_ids": np.array(ids), "labels": np.array(labels or list(ids))} for _ in range(count)]

case(TRAIN, "nothing to train on", ValueError, "dataset is empty")(
    lambda tmp_path: loop.train_model(adapted(), [], STEPS, tmp_path))
case(TRAIN, "an example with no label (the first token has none before it)", ValueError, "row 0", "labelled")(
    lambda tmp_path: loop.train_model(adapted(), rows(labels=[20] + [packing.IGNORED] * 11), STEPS, tmp_path))
case(TRAIN, "tokens of another tokenizer", ValueError, "row 0", "0..599")(
    lambda tmp_path: loop.train_model(adapted(), rows(ids=range(590, 602)), STEPS, tmp_path))

@case(TRAIN, "a loss that is not a number", RuntimeError, "loss is nan", "step 1", "[0, 1]", "learning_rate")
def nan_loss(tmp_path):
    model = adapted()
    model.get_base_model().model.layers[0].mlp.down_proj.weight.data[0, 0] = float("nan")
    loop.train_model(model, OneOrder(rows()), STEPS, tmp_path, report=lambda line: None)

@case(TRAIN, "a training that diverged", RuntimeError, "diverged: loss from 6.", "english from 6.", "Lower learning_rate",
      "is kept")
def diverged(tmp_path):
    wild, data = replace(STEPS, learning_rate=10.0, row_learning_rate=10.0), some_rows(40)
    words = data, wild, tmp_path, lambda m: {"english": learner.mean_loss(m, data)}, lambda line: None
    with pytest.raises(RuntimeError, match="diverged"):
        loop.train_model(adapted(), *words)
    assert [f.name for f in (tmp_path / "checkpoints").iterdir()] == ["step-000020"]
    loop.train_model(adapted(), *words)  # a finished training is found, and is as bad
case(TRAIN, "projections that the base does not have", ValueError, "the base has no c_attn, lm_head; it has", "q_proj")(
    lambda: adapted(targets=("c_attn", "lm_head")))  # an adapter of the output layer would not be trained
