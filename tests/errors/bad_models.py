"""Errors of tokenizers, vocabularies, models, training."""

# fmt: off
import json

import numpy as np

from blossom.models.loading import load_model
from blossom.training.loop import train_model
from blossom.training.packing import IGNORED
from blossom.training.settings import TrainingSettings
from blossom.vocabulary.bases import read_base
from blossom.vocabulary.loading import load_tokenizer
from blossom.vocabulary.pieces import clean_pieces, count_runs, script_pattern, train_pieces
from tests.errors.table import case
from tests.tiny import adapted

VOCAB = "tokenizers and vocabulary (01, 02)"
case(VOCAB, "a tokenizer.json cut off in the middle", ValueError, "tokenizer.json", "does not load", "JSONDecodeError")(
    lambda broken: load_tokenizer(broken("tokenizer.json", lambda old: old[:3000])))

case(VOCAB, "a donor in the wrong script", ValueError, "donor", "none of its 2 pieces", "2 in another script")(
    lambda: clean_pieces(read_base("tiny-byte-level"), ["кот", "пёс"], script_pattern(["Hangul"])))

case(VOCAB, "a script that Unicode does not know", ValueError, "scripts", "'Hangle'")(lambda: script_pattern(["Hangle"]))

@case(VOCAB, "a donor to be trained, on text without Korean", ValueError, "donor", "korean_texts", "scripts")
def no_korean():
    base = read_base("tiny-byte-level")
    train_pieces(base, count_runs(base, ["only English"], script_pattern(["Hangul"])), 10)


MODELS = "models"


def config(**changes):
    return lambda old: json.dumps(json.loads(old) | changes).encode()
OWN_CODE = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
OUTSIDE = json.dumps({"metadata": {}, "weight_map": {"model.embed_tokens.weight": "../../etc/passwd"}}).encode()
ADAPTER = b'{"peft_type": "LORA", "base_model_name_or_path": "somebody/else"}'


for wrong, name, change, *words in (
    ("a folder without a model", "config.json", lambda old: None, "no model there", "config.json"),
    ("a model that brings its own code (auto_map)", "config.json", config(model_type="mine", auto_map=OWN_CODE), "'mine'",
     "never run"),
    ("an adapter instead of a model", "adapter_config.json", lambda old: ADAPTER, "is an adapter", "adapter_config.json"),
    ("weights cut off in the middle", "model.safetensors", lambda old: old[:5000], "do not load", "SafetensorError"),
    ("a Git LFS pointer instead of weights", "model.safetensors", lambda old: b"version https://git-lfs.github.com/spec/v1\n",
     "do not load", "SafetensorError"),
    ("a web page instead of config.json", "config.json", lambda old: b"<html>", "config.json", "not valid JSON"),
    ("a config.json that asks for more layers than there are", "config.json", config(num_hidden_layers=9), "63 weights",
     "config.json", "model.layers.2.input_layernorm.weight"),
    ("an index of weights that points outside the folder", "model.safetensors.index.json", lambda old: OUTSIDE,
     "model.safetensors.index.json", "'../../etc/passwd'"),
):
    case(MODELS, wrong, ValueError, *words)(
        lambda broken, name=name, change=change: load_model(broken(name, change)))


TRAIN = "training (03)"
STEPS = TrainingSettings(batch_size=2, precision="float32")


class OneOrder(list):
    ordered = True


def rows(ids=range(20, 32), labels=None, count=2):
    return [{"input_ids": np.array(ids), "labels": np.array(labels or list(ids))} for _ in range(count)]

case(TRAIN, "nothing to train on", ValueError, "dataset is empty")(
    lambda tmp_path: train_model(adapted(), [], STEPS, tmp_path))
case(TRAIN, "an example with no label (the first token has none before it)", ValueError, "row 0", "labelled")(
    lambda tmp_path: train_model(adapted(), rows(labels=[20] + [IGNORED] * 11), STEPS, tmp_path))
case(TRAIN, "tokens of another tokenizer", ValueError, "row 0", "0..599")(
    lambda tmp_path: train_model(adapted(), rows(ids=range(590, 602)), STEPS, tmp_path))

@case(TRAIN, "a loss that is not a number", RuntimeError, "loss is nan", "step 1", "[0, 1]", "learning_rate")
def nan_loss(tmp_path):
    model = adapted()
    model.get_base_model().model.layers[0].mlp.down_proj.weight.data[0, 0] = float("nan")
    train_model(model, OneOrder(rows()), STEPS, tmp_path, report=lambda line: None)

@case(TRAIN, "a checkpoint of another run in the folder", None, "step-000001", "another run")
def other_run(tmp_path):
    told = []
    for ids in (range(20, 32), range(40, 52)):
        train_model(adapted(), rows(ids=ids), STEPS, tmp_path, report=told.append)
    return "\n".join(told)
