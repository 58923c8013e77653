"""Load tokenizers; SentencePiece models become HF fast tokenizers with the same ids."""

import json
from pathlib import Path

from safetensors import SafetensorError
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast  # AutoTokenizer would import every model: 10 s

from blossom.assets.registry import fetch_asset
from blossom.common import paths

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # SentencePiece's types of pieces
UNIGRAM, BPE = 1, 2  # its types of models
BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")
CONVERT = "; of another kind (tiktoken, vocab.json), transformers' AutoTokenizer makes one: load the folder and save it"


def load_tokenizer(source):
    """Load a HF fast tokenizer from an asset, folder, SentencePiece `.model` or hub id; ValueError when there is none."""
    path = fetch_asset(str(source), weights=False)
    model_file = path / "tokenizer.model" if path.is_dir() else path
    whole, given, ids = (path / "tokenizer.json").is_file(), {}, {}
    if not whole and not model_file.is_file():
        raise ValueError(f"{source}: holds no tokenizer; expected tokenizer.json or tokenizer.model in {path}{CONVERT}")
    converted = None if whole else convert_sentencepiece(read_sentencepiece(model_file))
    if not whole and not any((path / name).is_file() for name in BESIDE):
        return converted
    try:
        if not whole:
            given, ids = _read_beside(path, converted)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(path, **given)
    except Exception as error:
        told = "tokenizer.json does" if whole else f"{', '.join(BESIDE)} do"
        raise ValueError(f"{source}: its {told} not load ({tell_failure(error)})") from None
    for token, i in ids.items():
        if (found := tokenizer.get_vocab().get(token)) != i:
            told = f"{token!r} has id {i} in {BESIDE[0]} or {BESIDE[2]}, and {found} in or behind its tokenizer.model"
            raise ValueError(f"{source}: {told}; put the tokenizer.json of this model into the folder")
    tokenizer.backend_tokenizer.no_truncation()  # some files hold the lengths of a fine-tuning, which would cut texts
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _read_beside(path, converted):
    """What the files beside a tokenizer.model need to be read with it: arguments of `from_pretrained`; ids by token."""
    config, special, added = (paths.read_json(path / name) if (path / name).is_file() else {} for name in BESIDE[:3])
    decoder, known = config.get("added_tokens_decoder", {}), converted.added_tokens_decoder
    own = config if decoder else config | special  # as `from_pretrained` does
    usual = {"add_bos_token": converted.backend_tokenizer.post_processor is not None, "clean_up_tokenization_spaces": False}
    given = {name: value for name, value in (usual | converted.special_tokens_map).items() if name not in own}
    if decoder:  # without what is added already: symbols that SentencePiece finds in its own way
        new = {i: t for i, t in decoder.items() if int(i) not in known or t.get("special") and not known[int(i)].special}
        given["added_tokens_decoder"], added = new, {t["content"]: int(i) for i, t in decoder.items()} | added
    return given | {"tokenizer_object": converted.backend_tokenizer}, added


def tell_failure(error):
    """A library's exception in one line, with what to do where its kind says that a file is damaged."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return f"{reason}; copy the file again" if isinstance(error, SafetensorError | json.JSONDecodeError) else reason


def write_tokenizer(tokenizer, folder):
    """Write a tokenizer's files into a folder, its class and special tokens by names that transformers 4 and 5 both know."""
    tokenizer.save_pretrained(folder)
    file = Path(folder) / "tokenizer_config.json"
    config = paths.read_json(file) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    if "extra_special_tokens" in config:
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    paths.write_json(file, config)


def read_sentencepiece(path):
    """The ModelProto in a SentencePiece `.model` file; ValueError when the file is something else."""
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(Path(path).read_bytes())
    except DecodeError:
        proto.Clear()
    if not proto.pieces or proto.trainer_spec.model_type not in (UNIGRAM, BPE):
        raise ValueError(f"{path}: not a SentencePiece BPE or unigram model (nor a folder with a tokenizer.json){CONVERT}")
    return proto


def list_merges(pieces, vocabulary):
    """Merge rules (left, right) that make `pieces`, in rank order: each split of a piece into two tokens of `vocabulary`.

    The longer left part comes first: where splits of one text overlap ("a aa a"), SentencePiece joins the leftmost.
    """
    splits = ((piece[:cut], piece[cut:]) for piece in pieces for cut in range(len(piece) - 1, 0, -1))
    return [(left, right) for left, right in splits if left in vocabulary and right in vocabulary]


def convert_sentencepiece(proto):
    """A HF fast tokenizer with the ids of a SentencePiece ModelProto (BPE or unigram); special tokens in text are text."""
    spec, backend = proto.trainer_spec, build_backend(proto)
    ids = {"unk_token": spec.unk_id, "bos_token": spec.bos_id, "eos_token": spec.eos_id, "pad_token": spec.pad_id}
    special = {name: proto.pieces[i].piece for name, i in ids.items() if 0 <= i < len(proto.pieces)}
    if spec.model_type == BPE and (bos := special.get("bos_token")):
        forms = {"single": f"{bos} $A", "pair": f"{bos} $A {bos} $B"}
        backend.post_processor = processors.TemplateProcessing(**forms, special_tokens=[(bos, spec.bos_id)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)


def build_backend(proto):
    """The `tokenizers.Tokenizer` of a ModelProto, without a post-processor (it adds no BOS token)."""
    spec, prefix = proto.trainer_spec, proto.normalizer_spec.add_dummy_prefix
    if spec.model_type == BPE:
        normal = [p for p in proto.pieces if p.type == NORMAL]
        ordered = [p.piece for p in sorted(normal, key=lambda p: -p.score)]  # stable: of equal scores, the lower id first
        merges = list_merges(ordered, {p.piece for p in normal})
        vocabulary, unknown = {piece.piece: i for i, piece in enumerate(proto.pieces)}, proto.pieces[spec.unk_id].piece
        bpe = models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=spec.byte_fallback)
        backend = Tokenizer(bpe)
    else:
        scored = [(piece.piece, piece.score) for piece in proto.pieces]
        backend = Tokenizer(models.Unigram(scored, unk_id=spec.unk_id, byte_fallback=spec.byte_fallback))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex("(?=▁)"), "isolated")
    backend.normalizer = build_normalizer(proto.normalizer_spec)
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    special = [p.piece for p in proto.pieces if p.type in (UNKNOWN, CONTROL)]
    backend.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in special])
    # Gemma has no prefix; its runs of spaces are symbols that are found after normalisation
    backend.add_tokens([AddedToken(p.piece, normalized=not prefix) for p in proto.pieces if p.type == USER_DEFINED])
    return backend


def build_normalizer(spec):
    """SentencePiece's normaliser: character map, white space, the space before the first word."""
    steps = [normalizers.Precompiled(spec.precompiled_charsmap)] if spec.precompiled_charsmap else []
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    steps += [normalizers.Prepend("▁")] if spec.add_dummy_prefix else []
    return normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
