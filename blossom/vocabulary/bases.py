"""The two kinds of tokenizer that can be expanded, behind one face.

A *piece* is a string in the base's own alphabet: characters with "▁" for a space (SentencePiece) or GPT-2's byte
characters with "Ġ" for a space (byte-level). *Units* are what new merges start from: the base's own segmentation of a
text, because every merge of the base outranks every new one. So a merge never changes what the base already joins.
"""

import copy
import json
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from blossom.assets.registry import fetch_asset
from blossom.vocabulary.loading import load_tokenizer
from blossom.vocabulary.spelling import byte_alphabet, is_byte_level, is_whole, piece_bytes
from blossom.vocabulary.spm import (
    BPE,
    CONTROL,
    NORMAL,
    USER_DEFINED,
    build_backend,
    build_normalizer,
    convert_sentencepiece,
    list_merges,
    read_sentencepiece,
)

SUPPORTED = "supported bases: SentencePiece BPE (Llama-2, Mistral, Gemma) and byte-level BPE (Llama-3, Qwen, SmolLM2)"


def read_base(source):
    """The base in an asset, folder, `.model` file or hub id, as a SentencePieceBase or a ByteLevelBase.

    Raises ValueError: no tokenizer, or one that is no BPE (unigram and WordPiece bases cannot take appended merges).
    """
    path = Path(fetch_asset(str(source)))
    model_file = path / "tokenizer.model" if path.is_dir() else path
    if model_file.is_file():
        proto = read_sentencepiece(model_file)
        if proto.trainer_spec.model_type != BPE:
            raise ValueError(f"{source}: a unigram SentencePiece model cannot be merged into; {SUPPORTED}")
        if not proto.trainer_spec.byte_fallback:
            raise ValueError(
                f"{source}: a SentencePiece BPE without byte fallback loses text; {SUPPORTED}, with byte fallback"
            )
        return SentencePieceBase(source, proto, load_tokenizer(source) if path.is_dir() else None)
    tokenizer = load_tokenizer(source)
    kind = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"]
    if kind != "BPE":
        raise ValueError(f"{source}: a {kind} tokenizer cannot be merged into; {SUPPORTED}")
    if not is_byte_level(tokenizer):
        raise ValueError(f"{source}: looks like SentencePiece but its tokenizer.model is missing; put it into the folder")
    return ByteLevelBase(source, tokenizer)


UNRANKED = -1e8  # Llama and Mistral give runs of spaces -1e9, where float32 cannot tell neighbouring scores apart


class ByteLevelBase:
    """A byte-level BPE: new merges go behind the base's own.

    size   the first free id: all tokens of the base, the added ones included
    """

    kind = "byte-level"

    def __init__(self, name, tokenizer):
        self.name, self.tokenizer, self.proto = str(name), tokenizer, None
        self.size = max(tokenizer.get_vocab().values()) + 1
        self.vocabulary = set(tokenizer.get_vocab())
        self._segments = {}

    def piece(self, text):
        """Text as a piece. Example: " 먹" -> "Ġë¨¹"."""
        alphabet = byte_alphabet()
        return "".join(alphabet[byte] for byte in text.encode())

    def bytes(self, piece):
        """The UTF-8 bytes of a piece; a part of a character is allowed."""
        return piece_bytes(piece, True)

    def is_whole(self, piece):
        """Whether a piece holds whole characters."""
        return is_whole(self.bytes(piece))

    def words(self, text):
        """A text as the pieces that merges stay inside of: the base's own pre-tokens."""
        normalizer = self.tokenizer.backend_tokenizer.normalizer
        text = normalizer.normalize_str(text) if normalizer else text
        return [word for word, _ in self.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)]

    def segment(self, piece):
        """The base's own tokens for a piece, without what may stand beside it: tuple of pieces, remembered."""
        if piece not in self._segments:
            self._segments[piece] = tuple(token.value for token in self._model.tokenize(piece))
        return self._segments[piece]

    tokens = segment

    @cached_property
    def _model(self):
        return self.tokenizer.backend_tokenizer.model

    def build(self, pieces):
        """The base's tokenizer with `pieces` behind it: ids size, size+1, ... in order; everything else kept."""
        state = json.loads(self.tokenizer.backend_tokenizer.to_str())
        model = state["model"]
        for i, token in self.tokenizer.added_tokens_decoder.items():  # else they would be given other ids on reloading
            model["vocab"].setdefault(token.content, i)
        model["vocab"].update({piece: self.size + i for i, piece in enumerate(pieces)})
        model["merges"] += list_merges(pieces, model["vocab"])
        return _with_backend(self.tokenizer, Tokenizer.from_str(json.dumps(state)))


class SentencePieceBase:
    """A SentencePiece BPE: new pieces get scores below the base's lowest, strictly falling.

    proto  the ModelProto; tokens that a folder adds behind it become pieces of it, so that ids stay
    """

    kind = "sentencepiece"

    def __init__(self, name, proto, folder_tokenizer=None):
        self.name, self.proto = str(name), copy.deepcopy(proto)
        if folder_tokenizer:
            _take_added_tokens(self.proto, folder_tokenizer, self.name)
        self._like = folder_tokenizer or convert_sentencepiece(self.proto)
        self.tokenizer = self._tokenizer(self.proto) if folder_tokenizer else self._like
        self.size = len(self.proto.pieces)
        self.vocabulary = {p.piece for p in self.proto.pieces}
        self._segments = {}

    def piece(self, text):
        """Text as a piece. Example: " 먹" -> "▁먹"."""
        return text.replace(" ", "▁")

    def bytes(self, piece):
        """The UTF-8 bytes of a piece."""
        return piece_bytes(piece, False)

    def is_whole(self, piece):
        """Whether a piece holds whole characters: always, but for the base's byte pieces."""
        return is_whole(self.bytes(piece))

    def words(self, text):
        """A text as the pieces that merges stay inside of: after the base's clean-up, one."""
        cleaned = self._clean.normalize_str(text)
        return [cleaned] if cleaned else []

    @cached_property
    def _clean(self):
        spec = copy.deepcopy(self.proto.normalizer_spec)
        spec.add_dummy_prefix = spec.remove_extra_whitespaces = False
        return build_normalizer(spec)

    def segment(self, piece):
        """The base's own tokens for a piece, remembered; a character that it would spell in bytes stays a character."""
        if piece not in self._segments:
            self._segments[piece] = tuple(self._units(piece))
        return self._segments[piece]

    def _units(self, piece):
        units, waiting = [], piece
        for token in self._model.tokenize(piece):
            if waiting.startswith(token.value):
                units.append(token.value)
                waiting = waiting[len(token.value) :]
            elif token.value.startswith("<0x") and int(token.value[3:5], 16) & 0xC0 != 0x80:  # a character's first byte
                units.append(waiting[0])
                waiting = waiting[1:]
        return units

    def tokens(self, piece):
        """The base's own tokens for a piece, byte pieces included: list of pieces."""
        return [token.value for token in self._model.tokenize(piece)]

    @cached_property
    def _model(self):
        return self.tokenizer.backend_tokenizer.model

    def build(self, pieces):
        """The base's tokenizer with `pieces` behind it: ids size, size+1, ... in order; everything else kept."""
        return self._tokenizer(self.extended(pieces))

    def _tokenizer(self, proto):
        backend = build_backend(proto)
        if self._like.backend_tokenizer.post_processor:
            backend.post_processor = self._like.backend_tokenizer.post_processor
        return _with_backend(self._like, backend)

    def extended(self, pieces):
        """The ModelProto with `pieces` behind the base's: scores fall by one each, below the lowest real score."""
        proto = copy.deepcopy(self.proto)
        lowest = min(p.score for p in proto.pieces if p.type == NORMAL and p.score > UNRANKED)
        for i, piece in enumerate(pieces, 1):
            proto.pieces.add(piece=piece, score=lowest - i, type=NORMAL)
        proto.trainer_spec.vocab_size = len(proto.pieces)
        return proto


def _take_added_tokens(proto, tokenizer, name):
    """Tokens that a folder added behind its tokenizer.model (a pad token, chat markers) become pieces of `proto`."""
    for i, token in sorted(tokenizer.added_tokens_decoder.items()):
        if i < len(proto.pieces):
            continue
        if i > len(proto.pieces):
            raise ValueError(
                f"{name}: its added token {token.content!r} has id {i}, but its tokenizer.model ends at {len(proto.pieces)}"
            )
        kind = CONTROL if token.special else USER_DEFINED
        proto.pieces.add(piece=token.content, score=0.0, type=kind)


def _with_backend(tokenizer, backend):
    """A copy of a HF tokenizer (special tokens, chat template, limits kept) that runs on another `backend`."""
    from transformers import PreTrainedTokenizerFast

    kept = {k: v for k, v in tokenizer.special_tokens_map.items() if v}
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        clean_up_tokenization_spaces=False,
        **kept,
    )
    made.chat_template = tokenizer.chat_template
    return made
