"""SentencePiece models, read and rebuilt as HF fast tokenizers that agree with them id for id."""

from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE, UNIGRAM, BPE = 1, 2, 3, 4, 6, 1, 2  # SentencePiece's own numbers


def read_sentencepiece(path):
    """The protocol buffer in a SentencePiece `.model` file; ValueError when the file is something else."""
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(Path(path).read_bytes())
    except DecodeError:
        proto.Clear()
    if not proto.pieces or proto.trainer_spec.model_type not in (UNIGRAM, BPE):
        raise ValueError(f"{path}: not a SentencePiece BPE or unigram model (nor a folder with a tokenizer.json)")
    return proto


def list_merges(pieces, vocabulary):
    """Merge rules that produce `pieces`: every split of each piece into two known tokens.

    pieces      strings, the piece to be made first first
    vocabulary  container of known tokens (the pieces included)
    return      list of (left, right), in the order of `pieces`

    SentencePiece merges any two neighbours whose joint text is a piece, the best score first and, of equals, the
    leftmost. A rank for each split says the same, except where both splits of one text overlap ("a aa a"); there
    the order "longer left part first" picks the leftmost.
    """
    return [
        (piece[:cut], piece[cut:])
        for piece in pieces
        for cut in range(len(piece) - 1, 0, -1)
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]


def convert_sentencepiece(proto):
    """A HF fast tokenizer that agrees with SentencePiece on the ids of any text (special tokens read as text).

    proto   SentencePiece ModelProto, BPE or unigram
    """
    from transformers import PreTrainedTokenizerFast

    special = find_special_tokens(proto)
    backend = build_backend(proto)
    if proto.trainer_spec.model_type == BPE and "bos_token" in special:
        bos = special["bos_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, proto.trainer_spec.bos_id)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)


def find_special_tokens(proto):
    """The special tokens a SentencePiece model names: dict like {"bos_token": "<s>"}."""
    spec = proto.trainer_spec
    ids = {"unk_token": spec.unk_id, "bos_token": spec.bos_id, "eos_token": spec.eos_id, "pad_token": spec.pad_id}
    return {name: proto.pieces[i].piece for name, i in ids.items() if 0 <= i < len(proto.pieces)}


def build_backend(proto):
    """The `tokenizers.Tokenizer` of a SentencePiece ModelProto, without a post-processor (no BOS)."""
    spec = proto.trainer_spec
    if spec.model_type == BPE:
        backend = Tokenizer(_bpe(proto))
    else:
        scored = [(piece.piece, piece.score) for piece in proto.pieces]
        backend = Tokenizer(models.Unigram(scored, unk_id=spec.unk_id, byte_fallback=spec.byte_fallback))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex("(?=▁)"), "isolated")
    backend.normalizer = build_normalizer(proto.normalizer_spec)
    strip = [decoders.Strip(" ", 1, 0)] if proto.normalizer_spec.add_dummy_prefix else []
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    backend.add_special_tokens(
        [AddedToken(p.piece, normalized=False, special=True) for p in proto.pieces if p.type in (UNKNOWN, CONTROL)]
    )
    normalized = not proto.normalizer_spec.add_dummy_prefix  # Gemma: runs of spaces are symbols, found after clean-up
    backend.add_tokens([AddedToken(p.piece, normalized=normalized) for p in proto.pieces if p.type == USER_DEFINED])
    return backend


def _bpe(proto):
    vocabulary = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    normal = [p for p in proto.pieces if p.type == NORMAL]
    ordered = [p.piece for p in sorted(normal, key=lambda p: -p.score)]  # a stable sort: of equals, the lower id
    return models.BPE(
        vocabulary,
        list_merges(ordered, {p.piece for p in normal}),
        unk_token=proto.pieces[proto.trainer_spec.unk_id].piece,
        fuse_unk=True,
        byte_fallback=proto.trainer_spec.byte_fallback,
    )


def build_normalizer(spec):
    """SentencePiece's clean-up before it splits: character map, white space, the space before the first word."""
    steps = [normalizers.Precompiled(spec.precompiled_charsmap)] if spec.precompiled_charsmap else []
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    steps += [normalizers.Prepend("▁")] if spec.add_dummy_prefix else []
    return normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
