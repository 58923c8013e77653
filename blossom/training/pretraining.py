"""What stage 03 trains and on what, from its parameters: the notebook and `python -m blossom.training` share it."""

import torch

from blossom import assets, models
from blossom.common import params
from blossom.training import options, packing
from blossom.vocabulary import tokenization, vocab

STAGE = "03_bilingual_pretraining"


def starting_model(p):
    """The folder (or asset) whose model stage 03 starts from: 02's where the recipe has one, else the base.

    Raises ValueError when it is 02's and its certificate fails, or is not its tokenizer's.
    """
    start = params.starting_stage(p.recipe, STAGE)
    if start is None:
        return assets.fetch(p.base_model)
    folder = params.model_folder(p, STAGE)
    if start[1] == "02_vocab_merge":
        vocab.require(folder)
    return folder


def mixture(p, text, tokenizer):
    """The blocks to read, Korean and English in shares of tokens.

    p     parameters with korean_share, source_weights, english_anchor, block_size, training_tokens, same_text_as, seed,
          isolate_documents, trainable
    text  corpus.Corpus
    return  packing.Blocks; a stream is a language, or a source of it where source_weights names them

    Raises ValueError: source_weights that name no source, or only some of a language's; an anchor that cannot hold.
    Source: §3.2 and table 3 of the paper, 7:3.
    """
    options.check_anchor(p)
    unknown = set(p.source_weights) - {source for sources in text.sources.values() for source in sources}
    if unknown:
        raise ValueError(f"source_weights: {sorted(unknown)} are not in korean_texts or english_texts")
    streams, weights, anchored = _tokenized(p, text, tokenizer)
    tokens = _tokens_of(_bytes_of(p, text), streams, weights) if p.same_text_as else p.training_tokens
    return packing.Blocks(streams, weights, p.block_size, tokens, p.seed, p.isolate_documents, anchored)


def _tokenized(p, text, tokenizer):
    """(streams, share of each in the tokens, share of each that is anchored), by the streams' names."""
    marks = models.start_token(tokenizer), models.end_token(tokenizer)
    streams, weights, anchored = {}, {}, {}
    for language, share in (("korean", p.korean_share), ("english", 1 - p.korean_share)):
        for name, part, lines in _streams(language, text, p.source_weights):
            streams[name] = packing.tokenize(lines, tokenizer, *marks)
            weights[name] = share * part
            anchored[name] = p.english_anchor if language == "english" else 0.0
    return streams, weights, anchored


def _bytes_of(p, text):
    """Bytes of text that the recipe p.same_text_as trains on, with this run's other parameters."""
    recipe = p.same_text_as
    layered = params.as_dict(p) | params.read(params.recipe_file(recipe)) | {"recipe": recipe, "same_text_as": ""}
    other = params.build(type(p), layered)
    blocks = mixture(other, text, tokenization.load(starting_model(other)))
    return sum(1e6 * row["megabytes"] * row["epochs"] for row in blocks.table())


def _tokens_of(size, streams, weights):
    """How many tokens, in these shares, spell `size` bytes of text."""
    spelled = sum(weights[name] * stream.utf8_bytes / len(stream) for name, stream in streams.items())
    return round(size / spelled * sum(weights.values()))


def _streams(language, text, weights):
    """(name, share within the language, lines) of the streams a language is read as."""
    sources = text.sources[language]
    asked = {source: weights[source] for source in sources if source in weights}
    if not asked:
        yield language, 1.0, text.all(language)
        return
    if len(asked) < len(sources) or not sum(asked.values()) > 0:
        raise ValueError(f"source_weights: expected a weight for each of {', '.join(sources)}, found {asked}")
    for source, weight in asked.items():
        yield f"{language}: {source}", weight / sum(asked.values()), sources[source]


def learner(p, start):
    """(model, tokenizer) from `start`, the model with what learns made trainable; the same at every call."""
    model, tokenizer = models.load(start)
    torch.manual_seed(p.seed)
    return models.adapt(model, p.trainable, p.lora_rank, p.lora_alpha, p.lora_targets), tokenizer
