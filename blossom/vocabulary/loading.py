"""Loading a tokenizer from an asset, folder, file or hub id."""

from pathlib import Path

from blossom.assets.registry import fetch_asset
from blossom.vocabulary.spm import convert_sentencepiece, read_sentencepiece


def load_tokenizer(source):
    """A HF fast tokenizer from an asset's name, a folder, a SentencePiece `.model` file or a hub id.

    Raises ValueError when there is no tokenizer in it, RuntimeError when it cannot be fetched.
    """
    from transformers import PreTrainedTokenizerFast  # AutoTokenizer would import every model: 10 s

    path = Path(fetch_asset(str(source)))
    model_file = path / "tokenizer.model" if path.is_dir() else path
    if (path / "tokenizer.json").is_file():
        try:
            return PreTrainedTokenizerFast.from_pretrained(path)
        except Exception as error:
            reason = str(error).splitlines()[0][:200]
            raise ValueError(f"{source}: its tokenizer.json does not load ({type(error).__name__}: {reason})") from None
    if model_file.is_file():
        return convert_sentencepiece(read_sentencepiece(model_file))
    raise ValueError(f"{source}: holds no tokenizer; expected tokenizer.json or tokenizer.model in {path}")
