"""Rows: tokenizers, vocabularies, models, training."""

# fmt: off
import io
import json

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from blossom.assets.registry import fetch_asset
from blossom.generation.answers import generate_answers
from blossom.instructions.templates import encode_conversation
from blossom.models.adapters import adapt_model
from blossom.models.loading import load_model, resize_model, save_model
from blossom.text.corpus import read_corpus
from blossom.training.loop import train_model
from blossom.training.packing import IGNORED, pack_examples
from blossom.training.pretraining import STAGE, mix_corpus
from blossom.training.settings import TrainingSettings
from blossom.vocabulary.bases import read_base
from blossom.vocabulary.certificate import check_certificate
from blossom.vocabulary.closure import rank_pieces
from blossom.vocabulary.donors import clean_pieces, read_donor
from blossom.vocabulary.embeddings import subword_rows
from blossom.vocabulary.fertility import read_frequencies
from blossom.vocabulary.loading import load_tokenizer
from blossom.vocabulary.merging import merge_vocab, select_pieces
from blossom.vocabulary.pieces import count_runs, script_pattern, train_pieces
from tests.errors.table import case, file_case

VOCAB = "tokenizers and vocabulary (01, 02)"
case(VOCAB, "a folder without a tokenizer", ValueError, "no tokenizer", "expected tokenizer.json or tokenizer.model")(
    lambda tmp_path: load_tokenizer(tmp_path))
case(VOCAB, "a tokenizer.json cut off in the middle", ValueError, "tokenizer.json", "does not load", "JSONDecodeError")(
    lambda broken: load_tokenizer(broken("tokenizer.json", lambda old: old[:3000])))

file_case(VOCAB, "a .model file that is something else", load_tokenizer, "notes.model", "hello", "notes.model",
          "not a SentencePiece")

@case(VOCAB, "a unigram base", ValueError, "other.model", "unigram", "SentencePiece BPE")
def unigram(tmp_path):
    import sentencepiece

    made = io.BytesIO()
    settings = {"vocab_size": 300, "model_type": "unigram", "hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(input=str(fetch_asset("smoke-en")), model_writer=made, **settings)
    (tmp_path / "other.model").write_bytes(made.getvalue())
    read_base(tmp_path / "other.model")

file_case(VOCAB, "a donor that is no vocabulary", read_donor, "words.json", '["a", "b"]', "words.json",
          "expected JSON of the form {piece: id}")

case(VOCAB, "a donor in the wrong script", ValueError, "donor", "none of its 2 pieces", "2 in another script")(
    lambda: clean_pieces(read_base("tiny-byte-level"), ["кот", "пёс"], script_pattern(["Hangul"])))

@case(VOCAB, "a donor with empty, doubled, decomposed and control pieces", None, "1 twice in the donor",
     "1 empty or white space", "1 not NFC", "1 control")
def odd_pieces():
    texts = ["먹", "먹", " ", "\u1112\u1162\u11b7", "\x07가"]
    _, removed = clean_pieces(read_base("tiny-byte-level"), texts, script_pattern(["Hangul"]))
    return ", ".join(f"{count} {reason}" for reason, count in removed.items())

case(VOCAB, "a script that Unicode does not know", ValueError, "scripts", "'Hangle'")(lambda: script_pattern(["Hangle"]))

@case(VOCAB, "more pieces asked for than the donor has", ValueError, "added_pieces", "100000")
def too_many_pieces():
    base, pattern = read_base("tiny-byte-level"), script_pattern(["Hangul"])
    counts = count_runs(base, ["먹는 햄버거 공룡"] * 3, pattern)
    made = merge_vocab(base, train_pieces(base, counts, 20))
    order, _ = rank_pieces(made.base, made.pieces, counts)
    select_pieces(made, order, 100_000)

@case(VOCAB, "a donor to be trained, on text without Korean", ValueError, "donor", "korean_texts", "scripts")
def no_korean():
    base = read_base("tiny-byte-level")
    train_pieces(base, count_runs(base, ["only English"], script_pattern(["Hangul"])), 10)

file_case(VOCAB, "word frequencies without their second column", lambda file: read_frequencies(str(file)), "words.tsv",
          "이\t0.1\n는\n", "words.tsv, line 2", "expected word TAB share", "found '는")

case(VOCAB, "a merged model without its certificate", ValueError, "certificate.json", "notebook 02")(
    lambda broken: check_certificate(broken()))
case(VOCAB, "a new token that the base cannot spell", ValueError, "without base pieces", "[1]")(
    lambda: subword_rows(torch.ones(3, 2), [[0], []]))


# ------------------------------------------------------------------------------------------------------------- models

MODELS = "models"


def config(**changes):
    """A change of a JSON file: these values in place of its own."""
    return lambda old: json.dumps(json.loads(old) | changes).encode()
OWN_CODE = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
OUTSIDE = json.dumps({"metadata": {}, "weight_map": {"model.embed_tokens.weight": "../../etc/passwd"}}).encode()
ADAPTER = b'{"peft_type": "LORA", "base_model_name_or_path": "somebody/else"}'


for wrong, name, change, *words in (
    ("a folder without a model", "config.json", lambda old: None, "no model there", "config.json"),
    ("weights as a pickle", "model.safetensors", "pytorch_model.bin", "expected *.safetensors", "model.bin is a pickle"),
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
    @case(MODELS, wrong, ValueError, *words)
    def broken_model(broken, name=name, change=change):
        folder = broken()
        file = folder / name
        if isinstance(change, str):
            file.rename(folder / change)
        else:
            changed = change(file.read_bytes() if file.exists() else None)
            file.unlink(missing_ok=True)
            if changed is not None:
                file.write_bytes(changed)
        load_model(folder)

@case(MODELS, "a tokenizer larger than the model", ValueError, "tokenizer", "64 embedding rows")
def small_table(broken):
    folder = broken("config.json", config(vocab_size=64))
    tensors = {k: v[:64].clone() if "embed" in k else v for k, v in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    load_model(folder)

@case(MODELS, "a saved model with another model's tokenizer", ValueError, "tokenizer_sha256", "saved with", "found")
def other_tokenizer(tmp_path):
    model, tokenizer = load_model("tiny-byte-level")
    save_model(model, tokenizer, tmp_path / "m")
    file = tmp_path / "m" / "tokenizer.json"
    file.write_bytes(config(normalizer={"type": "NFC"})(file.read_bytes()))
    load_model(tmp_path / "m")

@case(MODELS, "weights that are not numbers, to be saved", ValueError, "not finite", "model.norm.weight")
def nan_weights(tmp_path):
    model, tokenizer = load_model("tiny-byte-level")
    model.model.norm.weight.data[0] = float("nan")
    save_model(model, tokenizer, tmp_path / "m")

for wrong, template, *words in (
    ("a chat template that reaches for Python's insides", "{{ ''.__class__.__mro__ }}", "template", "'__class__'"),
    ("a chat template that leaves the answer out", "{% for m in messages %}x{% endfor %}", "template", "own", "answer"),
):
    @case(MODELS, wrong, ValueError, *words)
    def bad_template(template=template):
        tokenizer = load_tokenizer("tiny-byte-level")
        tokenizer.chat_template = template
        told = [{"role": "user", "content": "질문"}, {"role": "assistant", "content": "답"}]
        encode_conversation("own", told, tokenizer)

@case(MODELS, "a prompt longer than the model's context", ValueError, "prompt 1", "12 new")
def long_prompt():
    model, tokenizer = load_model("tiny-byte-level")
    generate_answers(model, tokenizer, ["Hi", "word " * 3000], "newline", new_tokens=12)


# ----------------------------------------------------------------------------------------------------------- training

TRAIN = "training (03)"
STEPS = TrainingSettings(batch_size=2, precision="float32")


def adapted(targets=("q_proj",), mode="lora+new-rows", new=8):
    """A tiny model whose last rows are new, ready to train."""
    model, tokenizer = load_model("tiny-byte-level")
    if new:
        resize_model(model, len(tokenizer) - new, torch.zeros(new, model.config.hidden_size))
    return adapt_model(model, mode, rank=2, targets=targets)


def rows(ids=range(20, 32), labels=None, count=2):
    """Some rows to train on."""
    return [{"input_ids": np.array(ids), "labels": np.array(labels or list(ids))} for _ in range(count)]

@case(TRAIN, "a corpus smaller than one block", ValueError, "english", "block of 4096", "block_size")
def small_corpus(smoke):
    p = smoke(STAGE, block_size=4096)
    mix_corpus(p, read_corpus(p), load_model("tiny-byte-level")[1])

case(TRAIN, "nothing to train on", ValueError, "dataset is empty")(
    lambda tmp_path: train_model(adapted(), [], STEPS, tmp_path))
case(TRAIN, "an example with no label (the first token has none before it)", ValueError, "row 0", "labelled")(
    lambda tmp_path: train_model(adapted(), rows(labels=[20] + [IGNORED] * 11), STEPS, tmp_path))
case(TRAIN, "tokens of another tokenizer", ValueError, "row 0", "0..599")(
    lambda tmp_path: train_model(adapted(), rows(ids=range(590, 602)), STEPS, tmp_path))
case(TRAIN, "an example longer than a row", ValueError, "example 0", "12 tokens", "row of 8")(
    lambda: pack_examples(rows(), 8))

@case(TRAIN, "a loss that is not a number", RuntimeError, "loss is nan", "step 1", "[0, 1]", "learning_rate")
def nan_loss(tmp_path):
    model = adapted()
    model.get_base_model().model.layers[0].mlp.down_proj.weight.data[0, 0] = float("nan")
    train_model(model, OneOrder(rows()), STEPS, tmp_path, report=lambda line: None)


class OneOrder(list):
    """Rows that are taken as they come."""

    ordered = True
case(TRAIN, "projections that the base does not have", ValueError, "lora_targets", "c_attn", "down_proj")(
    lambda: adapted(targets=("q_proj", "c_attn")))
case(TRAIN, "new rows to train, in a model that has none", ValueError, "trainable", "'lora+new-rows'")(
    lambda: adapted(new=0))

@case(TRAIN, "weights for a source that is not there", ValueError, "source_weights", "'smoke-fr'", "korean_texts",
     "english_texts")
def no_source(smoke):
    p = smoke(STAGE, source_weights={"smoke-fr": 1.0})
    mix_corpus(p, read_corpus(p), load_model("tiny-byte-level")[1])

@case(TRAIN, "an English anchor beside rows that move", ValueError, "english_anchor", "expected 0 with trainable",
     "found 0.5")
def anchor(smoke):
    p = smoke(STAGE, english_anchor=0.5, trainable="full")
    mix_corpus(p, read_corpus(p), load_model("tiny-byte-level")[1])

@case(TRAIN, "a checkpoint of another run in the folder", None, "step-000001", "another run")
def other_run(tmp_path):
    told, settings = [], TrainingSettings(batch_size=2, precision="float32", checkpoints=1)
    for ids in (range(20, 32), range(40, 52)):
        train_model(adapted(), rows(ids=ids), settings, tmp_path, report=told.append)
    return "\n".join(told)
