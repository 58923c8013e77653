"""Errors of vocabularies and training."""

# fmt: off
import numpy as np

from blossom.training import loop, packing, settings
from blossom.vocabulary import bases, pieces
from tests.errors.table import case
from tests.tiny import adapted

VOCAB = "tokenizers and vocabulary (01, 02)"
case(VOCAB, "a donor in the wrong script", ValueError, "donor", "none of its 2 pieces", "2 in another script")(
    lambda: pieces.clean_pieces(bases.read_base("tiny-byte-level"), ["кот", "пёс"], pieces.script_pattern(["Hangul"])))

@case(VOCAB, "a donor to be trained, on text without Korean", ValueError, "donor", "korean_texts", "scripts")
def no_korean():
    base = bases.read_base("tiny-byte-level")
    pieces.train_pieces(base, pieces.count_runs(base, ["only English"], pieces.script_pattern(["Hangul"])), 10)


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

@case(TRAIN, "a checkpoint of another run in the folder", None, "step-000001", "another run")
def other_run(tmp_path):
    told = []
    for ids in (range(20, 32), range(40, 52)):
        loop.train_model(adapted(), rows(ids=ids), STEPS, tmp_path, report=told.append)
    return "\n".join(told)
