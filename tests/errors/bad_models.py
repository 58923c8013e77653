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
from tests.errors.table import row

VOCAB = "tokenizers and vocabulary (01, 02)"


@row(VOCAB, "a folder without a tokenizer", ValueError,
     "holds no tokenizer; expected tokenizer.json or tokenizer.model in", "Copy the missing file there.")
def no_tokenizer(tmp_path):
    load_tokenizer(tmp_path)


@row(VOCAB, "a tokenizer.json cut off in the middle", ValueError,
     "its tokenizer.json does not load (JSONDecodeError: ", "Download it again.")
def half_tokenizer(broken):
    load_tokenizer(broken("tokenizer.json", lambda old: old[:3000]))


@row(VOCAB, "a .model file that is something else", ValueError,
     "notes.model: not a SentencePiece BPE or unigram model (nor a folder with a tokenizer.json)", "Give another file.")
def no_sentencepiece(tmp_path):
    (tmp_path / "notes.model").write_text("hello")
    load_tokenizer(tmp_path / "notes.model")


@row(VOCAB, "a unigram base", ValueError,
     "other.model: a unigram SentencePiece model cannot be merged into; supported bases: SentencePiece BPE (…",
     "Take another base: a unigram model may be the donor alone.")
def unigram(tmp_path):
    import sentencepiece

    made = io.BytesIO()
    settings = {"vocab_size": 300, "model_type": "unigram", "hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(input=str(fetch_asset("smoke-en")), model_writer=made, **settings)
    (tmp_path / "other.model").write_bytes(made.getvalue())
    read_base(tmp_path / "other.model")


@row(VOCAB, "a donor that is no vocabulary", ValueError,
     "words.json: not a vocabulary; expected JSON of the form {piece: id}", "Give a tokenizer or such a file.")
def no_donor(tmp_path):
    (tmp_path / "words.json").write_text('["a", "b"]')
    read_donor(tmp_path / "words.json")


@row(VOCAB, "a donor in the wrong script", ValueError,
     "donor: none of its 2 pieces fits tiny-byte-level (2 in another script); take another donor or script",
     "Set scripts to the donor's, e.g. [Cyrillic].")
def other_script():
    clean_pieces(read_base("tiny-byte-level"), ["кот", "пёс"], script_pattern(["Hangul"]))


@row(VOCAB, "a donor with empty, doubled, decomposed and control pieces", "counted",
     "1 twice in the donor, 1 empty or white space, 1 not NFC (taken as NFC), 1 control or unassigned characters",
     "Nothing: they are left out, and counted in the certificate.")
def odd_pieces():
    texts = ["먹", "먹", " ", "\u1112\u1162\u11b7", "\x07가"]
    _, removed = clean_pieces(read_base("tiny-byte-level"), texts, script_pattern(["Hangul"]))
    return ", ".join(f"{count} {reason}" for reason, count in removed.items())


@row(VOCAB, "a script that Unicode does not know", ValueError,
     "scripts: Unicode knows no script 'Hangle'; e.g. Hangul, Han, Thai, Cyrillic", "Use Unicode's name.")
def no_script():
    script_pattern(["Hangle"])


@row(VOCAB, "more pieces asked for than the donor has", ValueError,
     "added_pieces: 100000 asked for, the donor gives …; ask for fewer, 0 takes all", "As it says.")
def too_many_pieces():
    base, pattern = read_base("tiny-byte-level"), script_pattern(["Hangul"])
    counts = count_runs(base, ["먹는 햄버거 공룡"] * 3, pattern)
    made = merge_vocab(base, train_pieces(base, counts, 20))
    order, _ = rank_pieces(made.base, made.pieces, counts)
    select_pieces(made, order, 100_000)


@row(VOCAB, "a donor to be trained, on text without Korean", ValueError,
     "donor: 'trained' found no text in the wanted scripts (parameters korean_texts, scripts)", "Give Korean text.")
def no_korean():
    base = read_base("tiny-byte-level")
    train_pieces(base, count_runs(base, ["only English"], script_pattern(["Hangul"])), 10)


@row(VOCAB, "word frequencies without their second column", ValueError,
     "words.tsv, line 2: expected word TAB share, found '는", "Mend that line.")
def no_frequency(tmp_path):
    (tmp_path / "words.tsv").write_text("이\t0.1\n는\n", encoding="utf-8")
    read_frequencies(str(tmp_path / "words.tsv"))


@row(VOCAB, "a merged model without its certificate", ValueError,
     "no certificate.json beside the model; run notebook 02, which makes it", "As it says.")
def no_certificate(broken):
    check_certificate(broken())


@row(VOCAB, "a new token that the base cannot spell", ValueError,
     "new tokens without base pieces (counted from 0): [1]; their mean would be NaN", "Leave the token out.")
def no_pieces():
    subword_rows(torch.ones(3, 2), [[0], []])


# ------------------------------------------------------------------------------------------------------------- models

MODELS = "models"


def config(**changes):
    """A change of a JSON file: these values in place of its own."""
    return lambda old: json.dumps(json.loads(old) | changes).encode()


@row(MODELS, "a folder without a model", ValueError, "no model there (…mine has no config.json)", "Give the model's folder.")
def no_config(broken):
    load_model(broken("config.json", lambda old: None))


@row(MODELS, "weights as a pickle", ValueError,
     "no weights there (expected *.safetensors in …mine); pytorch_model.bin is a pickle, which can run code: convert it",
     "Load it on a machine you can spare, and save it as safetensors.")
def pickled(broken):
    folder = broken("model.safetensors", lambda old: None)
    torch.save({}, folder / "pytorch_model.bin")
    load_model(folder)


@row(MODELS, "a model that brings its own code (auto_map)", ValueError,
     "its config.json names the architecture 'mine', which transformers does not know; code that comes with a model "
     "is never run",
     "Take a model of a known architecture, or a newer transformers.")
def own_code(broken):
    names = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    load_model(broken("config.json", config(model_type="mine", auto_map=names)))


@row(MODELS, "an adapter instead of a model", ValueError,
     "is an adapter (it has an adapter_config.json); give the model it was merged into", "Give model/, not adapter/.")
def an_adapter(broken):
    folder = broken()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "somebody/else"}')
    load_model(folder)


@row(MODELS, "weights cut off in the middle", ValueError,
     "its files do not load (SafetensorError: … incomplete metadata, file not fully covered); copy them again",
     "Download or copy it again.")
def half_weights(broken):
    load_model(broken("model.safetensors", lambda old: old[:5000]))


@row(MODELS, "a Git LFS pointer instead of weights", ValueError,
     "its files do not load (SafetensorError: …); copy them again", "Run git lfs pull, or download again.")
def lfs(broken):
    load_model(broken("model.safetensors", lambda old: b"version https://git-lfs.github.com/spec/v1\nsize 3\n"))


@row(MODELS, "a web page instead of config.json", ValueError, "config.json: not valid JSON (", "Download it again.")
def page_as_config(broken):
    load_model(broken("config.json", lambda old: b"<html>"))


@row(MODELS, "a config.json that asks for more layers than there are", ValueError,
     "its files lack 63 weights that its config.json asks for, first model.layers.2.input_layernorm.weight",
     "Copy config.json and weights from one place.")
def more_layers(broken):
    load_model(broken("config.json", config(num_hidden_layers=9)))


@row(MODELS, "an index of weights that points outside the folder", ValueError,
     "model.safetensors.index.json: names '../../etc/passwd', which is no .safetensors file beside it",
     "Throw the model away: nothing outside was read.")
def traversal(broken):
    folder = broken()
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "../../etc/passwd"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    load_model(folder)


@row(MODELS, "a tokenizer larger than the model", ValueError,
     "the tokenizer has … tokens and the model 64 embedding rows; take the model that was saved with this tokenizer",
     "As it says.")
def small_table(broken):
    folder = broken("config.json", config(vocab_size=64))
    tensors = {k: v[:64].clone() if "embed" in k else v for k, v in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    load_model(folder)


@row(MODELS, "a saved model with another model's tokenizer", ValueError,
     "its files do not belong together (tokenizer_sha256: saved with …, found …)", "Copy the whole folder again.")
def other_tokenizer(tmp_path):
    model, tokenizer = load_model("tiny-byte-level")
    save_model(model, tokenizer, tmp_path / "m")
    tokenizer.add_tokens(["먹"], special_tokens=True)
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary["added_tokens"][-1]["content"] = "다"
    file = tmp_path / "m" / "tokenizer.json"
    mine = json.loads(file.read_text(encoding="utf-8"))
    mine["normalizer"] = {"type": "NFC"}
    file.write_text(json.dumps(mine), encoding="utf-8")
    load_model(tmp_path / "m")


@row(MODELS, "weights that are not numbers, to be saved", ValueError,
     "not saved: 1 weights are not finite, first model.norm.weight", "Lower the learning rate.")
def nan_weights(tmp_path):
    model, tokenizer = load_model("tiny-byte-level")
    model.model.norm.weight.data[0] = float("nan")
    save_model(model, tokenizer, tmp_path / "m")


@row(MODELS, "a chat template that reaches for Python's insides", ValueError,
     "template: its chat template fails (SecurityError: access to attribute '__class__'", "Choose another template.")
def hostile_template():
    tokenizer = load_tokenizer("tiny-byte-level")
    tokenizer.chat_template = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    encode_conversation("own", [{"role": "user", "content": "질문"}], tokenizer)


@row(MODELS, "a chat template that leaves the answer out", ValueError,
     "template: own leaves an answer out", "Choose another template.")
def deaf_template():
    tokenizer = load_tokenizer("tiny-byte-level")
    tokenizer.chat_template = "{% for m in messages %}x{% endfor %}"
    told = [{"role": "user", "content": "질문"}, {"role": "assistant", "content": "답"}]
    encode_conversation("own", told, tokenizer)


@row(MODELS, "a prompt longer than the model's context", ValueError,
     "prompt 1: … tokens and 12 new ones; the model has room for", "Shorten it, or lower new_tokens.")
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


@row(TRAIN, "a corpus smaller than one block", ValueError,
     "english: … tokens are less than one block of 4096; give more text or lower block_size", "As it says.")
def small_corpus(smoke):
    p = smoke(STAGE, block_size=4096)
    mix_corpus(p, read_corpus(p), load_model("tiny-byte-level")[1])


@row(TRAIN, "nothing to train on", ValueError, "the dataset is empty (is the text shorter than one block?)",
     "Give more text, or lower block_size.")
def no_data(tmp_path):
    train_model(adapted(), [], STEPS, tmp_path)


@row(TRAIN, "an example with no label (the first token has none before it)", ValueError,
     "row 0: no token of it is labelled, so nothing can be learnt from it; leave it out", "As it says.")
def no_label(tmp_path):
    train_model(adapted(), rows(labels=[20] + [IGNORED] * 11), STEPS, tmp_path)


@row(TRAIN, "tokens of another tokenizer", ValueError,
     "row 0: token ids must lie in 0..599, the model's rows; is it another tokenizer's?", "Tokenize with this model's.")
def other_ids(tmp_path):
    train_model(adapted(), rows(ids=range(590, 602)), STEPS, tmp_path)


@row(TRAIN, "an example longer than a row", ValueError,
     "example 0: 12 tokens do not fit in a row of 8; shorten it or lengthen the row", "Raise sequence_length.")
def long_example():
    pack_examples(rows(), 8)


@row(TRAIN, "a loss that is not a number", RuntimeError,
     "the loss is nan at step 1, rows [0, 1]: stopped. The weights of the last checkpoint are intact; lower learning_rate",
     "As it says.")
def nan_loss(tmp_path):
    model = adapted()
    model.get_base_model().model.layers[0].mlp.down_proj.weight.data[0, 0] = float("nan")
    train_model(model, OneOrder(rows()), STEPS, tmp_path, report=lambda line: None)


class OneOrder(list):
    """Rows that are taken as they come."""

    ordered = True


@row(TRAIN, "projections that the base does not have", ValueError,
     "lora_targets: the base has no c_attn; it has down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj",
     "Name some of those.")
def other_names():
    adapted(targets=("q_proj", "c_attn"))


@row(TRAIN, "new rows to train, in a model that has none", ValueError,
     "trainable: 'lora+new-rows' needs a model with added rows; this one has none (run 02 first)",
     "Set trainable to lora+embeddings, or run 02.")
def no_new_rows():
    adapted(new=0)


@row(TRAIN, "weights for a source that is not there", ValueError,
     "source_weights: ['smoke-fr'] are not in korean_texts or english_texts", "Use the sources' names.")
def no_source(smoke):
    p = smoke(STAGE, source_weights={"smoke-fr": 1.0})
    mix_corpus(p, read_corpus(p), load_model("tiny-byte-level")[1])


@row(TRAIN, "an English anchor beside rows that move", ValueError,
     "english_anchor: expected 0 with trainable: full, found 0.5; it asks the base what to expect",
     "Set english_anchor to 0, or train new rows alone.")
def anchor(smoke):
    p = smoke(STAGE, english_anchor=0.5, trainable="full")
    mix_corpus(p, read_corpus(p), load_model("tiny-byte-level")[1])


@row(TRAIN, "a checkpoint of another run in the folder", "printed",
     "step-000001 is of another run (text): set aside as checkpoints.old, starting anew",
     "Nothing: it is kept, and not used.")
def other_run(tmp_path):
    told, settings = [], TrainingSettings(batch_size=2, precision="float32", checkpoints=1)
    for ids in (range(20, 32), range(40, 52)):
        train_model(adapted(), rows(ids=ids), settings, tmp_path, report=told.append)
    return "\n".join(told)
