"""Fill a folder with the repositories that repositories.yaml names: tiny models and a few rows, in the real formats."""

import json
import os
import shutil
from itertools import product
from pathlib import Path
from urllib.parse import quote

import sentencepiece
import torch
import yaml
from datasets import ClassLabel, Dataset, disable_progress_bars
from transformers import AutoConfig, AutoModelForCausalLM, LlamaTokenizer

from blossom.assets.registry import fetch_asset
from blossom.common import paths
from blossom.text.rows import read_rows
from blossom.vocabulary.loading import NORMAL, load_tokenizer, read_sentencepiece


def fill_hub(folder):
    """Make every repository and file below `folder`: the ids that are gated."""
    disable_progress_bars()
    listed = yaml.safe_load(Path(__file__).with_name("repositories.yaml").read_text(encoding="utf-8"))
    for name, values in listed["models"].items():
        make_model(folder / "models" / name / "main", **values)
    for name, values in listed["datasets"].items():
        make_set(folder / "datasets" / name, **values)
    for name, values in listed["files"].items():
        rows = [row for _, row in read_rows(str(paths.ROOT / values["source"]))]
        for n, split in enumerate(values["splits"]):
            part = json.dumps(rows[n :: len(values["splits"])], ensure_ascii=False)
            paths.write_text(folder / "files" / name.format(split=split), part)
    return listed["gated"]


def make_set(home, configs, script=""):
    """A data set with its card, or a script with the hub's own Parquet copy of its rows."""
    folder, card = home / (quote("refs/convert/parquet", safe="") if script else "main"), []
    for name, values in configs.items():
        rows = [row for _, row in read_rows(str(paths.ROOT / values["source"]))]
        if columns := values.get("columns"):
            picked = ({name: pick(row, field) for name, field in columns.items()} for row in rows)
            rows = [row for row in picked if None not in row.values()]
        for column, number in values.get("empty", {}).items():
            rows[number][column] = ""
        splits, shards, stored = values["splits"], values.get("shards", 1), values.get("stored", "parquet")
        whole = Dataset.from_list(rows)
        for column, labels in values.get("labels", {}).items():
            whole = whole.cast_column(column, ClassLabel(names=labels))
        for n, (shard, split) in enumerate(product(range(shards), splits)):
            part = whole.shard(shards * len(splits), n, contiguous=False)
            file = folder / name / f"{split}{f'/{shard:04}' if script else f'-{shard:05}-of-{shards:05}'}.{stored}"
            file.parent.mkdir(parents=True, exist_ok=True)
            part.to_json(file, force_ascii=False) if stored == "jsonl" else part.to_parquet(file)
        card.append({"config_name": name, "data_files": [{"split": s, "path": f"{name}/{s}-*"} for s in splits]})
    text = "# a script" if script else f"---\n{yaml.safe_dump({'configs': card})}---\n"
    paths.write_text(home / "main" / (script or "README.md"), text)


def pick(row, field):
    """The value of a field ("=text": the text itself, a list: the values of its fields)."""
    if isinstance(field, list):
        return [pick(row, part) for part in field]
    return field[1:] if field.startswith("=") else row.get(field)


def make_model(folder, tokenizer, kind="", dtype="", padding=0, tied=False, chat="", beside=(), drop=()):
    """A random 2-layer model in half precision and shards, and its tokenizer: the real one where BLOSSOM_ASSETS has it."""
    folder.mkdir(parents=True)
    write_tokenizer(tokenizer, folder)
    if not kind:
        return
    shape = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4)
    read = load_tokenizer(folder)
    ids = {"vocab_size": len(read) + padding, "bos_token_id": read.bos_token_id, "eos_token_id": read.eos_token_id}
    config = AutoConfig.for_model(kind, tie_word_embeddings=tied, **ids, **shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for bias in (w for name, w in model.named_parameters() if name.endswith("bias")):
            torch.nn.init.normal_(bias, std=0.5)  # transformers starts them at 0, which hides a lost one
        model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size="200KB")
    for name in beside:  # not to be fetched
        (folder / name).write_bytes(b"x" * 1000)
    if chat:
        (folder / "chat_template.jinja").write_text(chat)
    written = json.loads((folder / "config.json").read_text())
    paths.write_json(folder / "config.json", {name: value for name, value in written.items() if name not in drop})


def write_tokenizer(name, folder):
    real, file = bool(os.environ.get("BLOSSOM_ASSETS")), folder / "tokenizer.model"
    if name == "qwen":
        tokenizer = load_tokenizer("tiny-qwen")
        tokenizer.eos_token = tokenizer.pad_token  # one token for both, as in the real one
        return tokenizer.save_pretrained(folder)
    if name == "kobert":
        file = folder / "spiece.model"
        return shutil.copy(fetch_asset("kobert"), file) if real else train_pieces("unigram", file)
    proto = read_sentencepiece(fetch_asset("llama2-tokenizer") if real else fetch_asset("tiny-sentencepiece") / file.name)
    if name == "llama2-ko":  # Korean pieces behind Llama's
        known, added = {piece.piece for piece in proto.pieces}, read_sentencepiece(train_pieces("bpe", file)).pieces
        proto.pieces.extend(piece for piece in added if piece.type == NORMAL and piece.piece not in known)
        for n, piece in enumerate(proto.pieces[len(known) :]):
            piece.score = -1e5 - n
    file.write_bytes(proto.SerializeToString())
    LlamaTokenizer.from_pretrained(folder).save_pretrained(folder)
    if name == "llama2-ko":  # a fast tokenizer alone
        file.unlink()


def train_pieces(kind, file):
    """Train 2,000 SentencePiece pieces on Korean prose of this project: the file."""
    texts = (row["ko"] for _, row in read_rows("authored-prose"))
    with open(file, "wb") as stream:
        options = {"model_type": kind, "vocab_size": 2000, "minloglevel": 2, "character_coverage": 0.999}
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=texts, model_writer=stream, **options)
    return file
