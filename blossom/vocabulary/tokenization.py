"""How a tokenizer spells a language: loading, counting, showing.

Everything is counted in bytes, characters and words, never in tokens of another tokenizer. A *line* is a document.
"""

from pathlib import Path

from blossom.assets.registry import fetch_asset
from blossom.vocabulary.encoding import count_tokens, encode, engine, strange_lines
from blossom.vocabulary.spelling import (
    BYTE_PIECE,
    PAPERS_TABLE_1,
    byte_alphabet,
    cost,
    fallback_ids,
    first_bytes,
    is_byte_level,
    is_whole,
    piece_bytes,
    read_frequencies,
    shared_parts,
    spell,
    statistics,
    token_bytes,
    token_lengths,
    unit,
    weighted_fertility,
)
from blossom.vocabulary.spm import (
    BPE,
    CONTROL,
    NORMAL,
    UNIGRAM,
    USER_DEFINED,
    from_sentencepiece,
    merges,
    normaliser,
    read_sentencepiece,
    sentencepiece_backend,
)

__all__ = [
    "BPE",
    "BYTE_PIECE",
    "CONTROL",
    "NORMAL",
    "PAPERS_TABLE_1",
    "UNIGRAM",
    "USER_DEFINED",
    "byte_alphabet",
    "cost",
    "count_tokens",
    "encode",
    "engine",
    "fallback_ids",
    "first_bytes",
    "from_sentencepiece",
    "is_byte_level",
    "is_whole",
    "load",
    "merges",
    "normaliser",
    "piece_bytes",
    "read_frequencies",
    "read_sentencepiece",
    "sentencepiece_backend",
    "shared_parts",
    "spell",
    "statistics",
    "strange_lines",
    "token_bytes",
    "token_lengths",
    "unit",
    "weighted_fertility",
]


def load(source):
    """A HF fast tokenizer from an asset's name, a folder, a SentencePiece `.model` file or a hub id.

    A `.model` file is rebuilt from its pieces and scores, so that it agrees with SentencePiece id for id.
    Raises ValueError when there is no tokenizer in it, RuntimeError when it cannot be fetched.
    """
    from transformers import PreTrainedTokenizerFast  # not AutoTokenizer: that imports every model, 10 s

    path = Path(fetch_asset(str(source)))
    model_file = path / "tokenizer.model" if path.is_dir() else path
    if (path / "tokenizer.json").is_file():
        try:
            return PreTrainedTokenizerFast.from_pretrained(path)
        except Exception as error:
            reason = str(error).splitlines()[0][:200]
            raise ValueError(f"{source}: its tokenizer.json does not load ({type(error).__name__}: {reason})") from None
    if model_file.is_file():
        return from_sentencepiece(read_sentencepiece(model_file))
    raise ValueError(f"{source}: holds no tokenizer; expected tokenizer.json or tokenizer.model in {path}")
