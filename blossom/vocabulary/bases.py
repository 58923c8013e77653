"""The two kinds of tokenizer that pieces can be merged into, with the same methods.

A *piece* is a string in the base's own alphabet: for " 먹" it is "▁먹" (SentencePiece) or "Ġë¨¹" (byte-level). New merges
rank after all of the base's merges, so they never change what the base already joins.
"""

import copy
import json

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from blossom.assets.registry import fetch_asset
from blossom.vocabulary import loading
from blossom.vocabulary.spelling import BYTE_ALPHABET, kind_of, piece_bytes

SUPPORTED = "supported bases: SentencePiece BPE (Llama-2, Mistral, Gemma) and byte-level BPE (Llama-3, Qwen, SmolLM2); or "
SUPPORTED += "recipe base-bi, which keeps any base's vocabulary"


def read_base(source):
    """Read the SentencePieceBase or ByteLevelBase in an asset, folder, `.model` file or hub id; ValueError for another."""
    path = fetch_asset(str(source), weights=False)
    model_file = path / "tokenizer.model" if path.is_dir() else path
    tokenizer = loading.load_tokenizer(source) if path.is_dir() else None
    if not tokenizer or (model_file.is_file() and kind_of(tokenizer) != "byte-level"):  # else it is tiktoken's
        proto = loading.read_sentencepiece(model_file)
        if proto.trainer_spec.model_type != loading.BPE:
            raise ValueError(f"{source}: a unigram SentencePiece model cannot be merged into; {SUPPORTED}")
        if not proto.trainer_spec.byte_fallback:
            raise ValueError(f"{source}: a SentencePiece BPE without byte fallback loses text; {SUPPORTED}")
        return SentencePieceBase(source, proto, tokenizer)
    kind = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"]
    if kind != "BPE":
        raise ValueError(f"{source}: a {kind} tokenizer cannot be merged into; {SUPPORTED}")
    if kind_of(tokenizer) != "byte-level":
        raise ValueError(f"{source}: looks like SentencePiece but its tokenizer.model is missing; put it there; {SUPPORTED}")
    return ByteLevelBase(source, tokenizer)


class _Base:
    """What both kinds share: `kind`, `size` (the first id after all tokens, added too), `vocabulary` (set of pieces)."""

    def __init__(self, name, tokenizer):
        self.name, self.tokenizer = str(name), tokenizer
        self.size = max(tokenizer.get_vocab().values()) + 1
        self.vocabulary = set(tokenizer.get_vocab())
        self._model, self._segments = tokenizer.backend_tokenizer.model, {}

    def bytes(self, piece):
        return piece_bytes(piece, self.kind)

    def tokens(self, piece):
        """The tokens, byte tokens included, that the base alone makes of a piece: list of pieces."""
        return [token.value for token in self._model.tokenize(piece)]

    def segment(self, piece):
        """The pieces that new merges join to make `piece`: a tuple, kept for the next call."""
        if piece not in self._segments:
            self._segments[piece] = tuple(self._units(piece))
        return self._segments[piece]


class ByteLevelBase(_Base):
    """A byte-level BPE: new merges are appended to its list."""

    kind = "byte-level"
    _units = _Base.tokens

    def piece(self, text):
        """Text as a piece. Example: " 먹" -> "Ġë¨¹"."""
        return "".join(BYTE_ALPHABET[byte] for byte in text.encode())

    def words(self, text):
        """The pre-tokens of a text, which merges do not cross: list of pieces."""
        backend = self.tokenizer.backend_tokenizer
        text = backend.normalizer.normalize_str(text) if backend.normalizer else text
        return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]

    def build(self, pieces):
        """The base's tokenizer with `pieces` added under the ids size, size + 1, ..."""
        state = json.loads(self.tokenizer.backend_tokenizer.to_str())
        model = state["model"]
        for i, token in self.tokenizer.added_tokens_decoder.items():  # or reloading would give them other ids
            model["vocab"].setdefault(token.content, i)
        model["vocab"].update({piece: self.size + i for i, piece in enumerate(pieces)})
        model["merges"] += loading.list_merges(pieces, model["vocab"])
        return _replace_backend(self.tokenizer, Tokenizer.from_str(json.dumps(state)))


class SentencePieceBase(_Base):
    """A SentencePiece BPE (`proto`): new pieces get strictly falling scores below the base's lowest."""

    kind = "sentencepiece"

    def __init__(self, name, proto, folder_tokenizer=None):
        self.proto = copy.deepcopy(proto)
        added = folder_tokenizer.added_tokens_decoder if folder_tokenizer else {}
        for i, token in sorted(added.items()):  # those that its tokenizer.model lacks or names otherwise become pieces
            end = len(self.proto.pieces)
            if i > end:
                raise ValueError(f"{name}: added token {token.content!r} has id {i}, but its tokenizer.model ends at {end}")
            piece = self.proto.pieces.add(score=0.0) if i == end else self.proto.pieces[i]
            if piece.piece != token.content:
                piece.piece, piece.type = token.content, loading.CONTROL if token.special else loading.USER_DEFINED
        ids = folder_tokenizer.get_vocab() if folder_tokenizer else {}
        known = {piece.piece: i for i, piece in enumerate(self.proto.pieces)}
        apart = [token for token, i in ids.items() if known.get(token) != i]  # Gemma's files spell one token in two ways
        if len(apart) > len(known) // 100 or max(ids.values(), default=0) >= len(known):
            told = f"{len(apart)} tokens of tokenizer.json, like {max(apart, key=ids.get)!r}, are others in tokenizer.model"
            raise ValueError(f"{name}: {told}; put the tokenizer.model of this model there; {SUPPORTED}")
        self._like = folder_tokenizer or loading.convert_sentencepiece(self.proto)
        super().__init__(name, self._tokenizer(self.proto) if folder_tokenizer else self._like)
        spec = copy.deepcopy(self.proto.normalizer_spec)
        spec.add_dummy_prefix = spec.remove_extra_whitespaces = False
        self._normalizer = loading.build_normalizer(spec)

    def piece(self, text):
        """Text as a piece. Example: " 먹" -> "▁먹"."""
        return text.replace(" ", "▁")

    def words(self, text):
        """The normalised text as one piece: SentencePiece does not split text before it merges."""
        cleaned = self._normalizer.normalize_str(text)
        return [cleaned] if cleaned else []

    def _units(self, piece):
        """The base's tokens, with a character that the base spells in bytes as one unit."""
        units, done = [], 0  # characters
        for token in self.tokens(piece):
            if piece.startswith(token, done):
                units.append(token)
            elif token.startswith("<0x") and int(token[3:5], 16) & 0xC0 != 0x80:  # the first byte of a character
                units.append(piece[done])
            else:
                continue
            done += len(units[-1])
        return units

    def build(self, pieces):
        return self._tokenizer(self.extend_proto(pieces))

    def extend_proto(self, pieces):
        """The ModelProto with `pieces` after the base's; scores fall by 1 each, below the base's lowest real score."""
        proto = copy.deepcopy(self.proto)
        # Llama and Mistral score runs of spaces -1e9, where float32 cannot separate neighbouring scores
        lowest = min(p.score for p in proto.pieces if p.type == loading.NORMAL and p.score > -1e8)
        for i, piece in enumerate(pieces, 1):
            proto.pieces.add(piece=piece, score=lowest - i, type=loading.NORMAL)
        proto.trainer_spec.vocab_size = len(proto.pieces)
        return proto

    def _tokenizer(self, proto):
        backend = loading.build_backend(proto)
        if self._like.backend_tokenizer.post_processor:
            backend.post_processor = self._like.backend_tokenizer.post_processor
        return _replace_backend(self._like, backend)


def _replace_backend(tokenizer, backend):
    kept = {name: getattr(tokenizer, name) for name in ("model_max_length", "padding_side", "chat_template")}
    kept = {name: value for name, value in (tokenizer.special_tokens_map | kept).items() if value}
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **kept)
