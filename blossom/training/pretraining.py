"""What stage 03 trains, and on what, from its parameters; used by notebook 03 and `python -m blossom.training`."""

from dataclasses import asdict

import torch

from blossom.assets.registry import fetch_asset
from blossom.common import params, runs
from blossom.models.adapters import adapt_model
from blossom.models.bits import end_token, start_token
from blossom.models.loading import load_model
from blossom.training.packing import Blocks, tokenize_documents
from blossom.training.settings import check_anchor
from blossom.vocabulary.certificate import check_certificate
from blossom.vocabulary.loading import load_tokenizer

STAGE = "03_bilingual_pretraining"


def find_start(p):
    """The folder (or asset) whose model stage 03 starts from: 02's where the recipe has one, else the base.

    Raises ValueError when it is 02's and its certificate fails, or is not its tokenizer's.
    """
    start = params.starting_stage(p.recipe, STAGE)
    if start is None:
        return fetch_asset(p.base_model)
    folder = runs.require_model(p, STAGE)
    if start[1] == "02_vocab_merge":
        check_certificate(folder)
    return folder


def mix_corpus(p, text, tokenizer):
    """The Blocks of stage 03: Korean and English of `text` (a Corpus) in shares of tokens, 7:3 in the paper (§3.2, table 3).

    A stream is a language, or each of its sources where `source_weights` names them.
    Raises ValueError: source_weights that name no source, or only some of a language's; an anchor that is not possible.
    """
    check_anchor(p)
    unknown = set(p.source_weights) - {*text.korean.keeps, *text.english.keeps}
    if unknown:
        raise ValueError(f"source_weights: {sorted(unknown)} are not in korean_texts or english_texts")
    streams, weights, anchored = _tokenized(p, text, tokenizer)
    tokens = _tokens_of(_bytes_of(p, text), streams, weights) if p.same_text_as else p.training_tokens
    return Blocks(streams, weights, p.block_size, tokens, p.seed, p.isolate_documents, anchored)


def _tokenized(p, text, tokenizer):
    """Streams, their shares of the tokens, and the anchored share of each, by name."""
    marks = start_token(tokenizer), end_token(tokenizer)
    streams, weights, anchored = {}, {}, {}
    for language, share in (("korean", p.korean_share), ("english", 1 - p.korean_share)):
        for name, part, lines in _streams(language, text, p.source_weights):
            streams[name] = tokenize_documents(lines, tokenizer, *marks)
            weights[name] = share * part
            anchored[name] = p.english_anchor if language == "english" else 0.0
    return streams, weights, anchored


def _bytes_of(p, text):
    """Bytes of text that the recipe p.same_text_as trains on, with this run's other parameters."""
    recipe = p.same_text_as
    layered = asdict(p) | params.read_params(params.recipe_file(recipe)) | {"recipe": recipe, "same_text_as": ""}
    other = params.build_params(type(p), layered)
    blocks = mix_corpus(other, text, load_tokenizer(find_start(other)))
    return sum(1e6 * row["megabytes"] * row["epochs"] for row in blocks.table())


def _tokens_of(size, streams, weights):
    """How many tokens, in these shares, hold `size` bytes of text."""
    spelled = sum(weights[name] * stream.utf8_bytes / len(stream) for name, stream in streams.items())
    return round(size / spelled * sum(weights.values()))


def _streams(language, text, weights):
    """(name, share within the language, lines) of the streams a language is read as."""
    lines = getattr(text, language)
    asked = {source: weights[source] for source in lines.keeps if source in weights}
    if not asked:
        yield language, 1.0, lines
        return
    if len(asked) < len(lines.keeps) or not sum(asked.values()) > 0:
        raise ValueError(f"source_weights: expected a weight for each of {', '.join(lines.keeps)}, found {asked}")
    for source, weight in asked.items():
        yield f"{language}: {source}", weight / sum(asked.values()), lines.of(source)


def load_adapted(p, start):
    """(model, tokenizer) from `start`, the model with its trainable parameters; the same at every call."""
    model, tokenizer = load_model(start)
    torch.manual_seed(p.seed)
    return adapt_model(model, p.trainable, p.lora_rank, p.lora_alpha, p.lora_targets), tokenizer
