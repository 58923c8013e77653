"""What stage 03 trains, and on what, from its parameters; used by notebook 03 and `python -m blossom.training`."""

from blossom.assets.registry import fetch_asset
from blossom.common import params, runs, stages
from blossom.models import adapters, bits, loading
from blossom.training.packing import Blocks, tokenize_documents
from blossom.vocabulary.certificate import check_certificate


def find_start(p):
    """The folder of the model that stage 03 trains: of stage 02, after checking its certificate, or of the base model."""
    start = params.starting_stage(p.recipe, stages.TRAINED)
    if start is None:
        return fetch_asset(p.base_model)
    folder = runs.require_model(p, stages.TRAINED)
    if start[1] == stages.MERGED:
        check_certificate(folder)
    return folder


def mix_corpus(p, text, tokenizer):
    """The Blocks of stage 03: Korean and English of `text` (a Corpus) mixed by tokens, 7:3 in the paper (section 3.2).

    Each language is one stream or, where `source_weights` names its sources, one stream per source.
    """
    unknown = set(p.source_weights) - {*text.korean.keeps, *text.english.keeps}
    if unknown:
        raise ValueError(f"source_weights: {sorted(unknown)} are not in korean_texts or english_texts")
    marks = bits.start_token(tokenizer), bits.end_token(tokenizer)
    streams, weights, anchored = {}, {}, {}
    for language, share in (("korean", p.korean_share), ("english", 1 - p.korean_share)):
        for name, part, lines in _split_sources(language, text, p.source_weights):
            streams[name], weights[name] = tokenize_documents(lines, tokenizer, *marks), share * part
            anchored[name] = p.english_anchor if language == "english" else 0.0
    return Blocks(streams, weights, p.block_size, p.training_tokens, p.seed, p.isolate_documents, anchored)


def _split_sources(language, text, weights):
    """(name, share within the language, lines) of a language's streams."""
    lines = getattr(text, language)
    asked = {source: weights[source] for source in lines.keeps if source in weights}
    if not asked:
        return [(language, 1.0, lines)]
    if len(asked) < len(lines.keeps) or not sum(asked.values()) > 0:
        raise ValueError(f"source_weights: expected a weight for each of {', '.join(lines.keeps)}, found {asked}")
    return [(f"{language}: {source}", w / sum(asked.values()), lines.of(source)) for source, w in asked.items()]


def load_adapted(p, start):
    """(model, tokenizer) from `start`, with trainable parameters initialised by the seed."""
    model, tokenizer = loading.load_model(start, quantize=p.quantize)
    return adapters.adapt_model(model, p.trainable, p.lora_rank, p.lora_alpha, p.lora_targets, p.seed), tokenizer
