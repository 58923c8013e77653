"""Merging new pieces into a base tokenizer, SentencePiece BPE and byte-level BPE alike."""

from dataclasses import dataclass, field
from functools import cached_property

from blossom.common import paths
from blossom.vocabulary import closure, loading
from blossom.vocabulary.pieces import split_characters


@dataclass
class MergedVocab:
    """A base of `read_base` and the new pieces merged into it."""

    base: object
    pieces: list  # the new pieces in the base's alphabet, in the order of their ids
    on_the_way: list = field(default_factory=list)  # pieces that were not asked for but are needed to make others
    dropped: list = field(default_factory=list)  # pieces left out because no merge makes them
    unreachable: list = field(default_factory=list)  # pieces kept although no merge makes them

    @cached_property
    def tokenizer(self):
        """The merged HF fast tokenizer, built on first use."""
        return self.base.build(self.pieces)

    def base_ids(self):
        """The base's ids for the text of each new piece: list of lists."""
        ids = self.base.tokenizer.get_vocab()
        return [[ids[token] for token in self.base.tokens(piece)] for piece in self.pieces]


def merge_vocab(base, asked, unreachable="add"):
    """Merge new pieces into a base, ranked after the base's own: a MergedVocab.

    asked        pieces in the base's alphabet, in rank order; those that the base has are left out
    unreachable  policy of `close_pieces`
    """
    asked = [piece for piece in dict.fromkeys(asked) if piece not in base.vocabulary]
    # the characters of the pieces come first, so that every piece can be made of whole characters
    steps = [step for piece in asked for _, needed in split_characters(base, piece) for step in needed]
    closed, dropped, left = closure.close_pieces(base, dict.fromkeys([*steps, *asked]), unreachable)
    wanted = set(asked)
    return MergedVocab(base, closed, [p for p in closed if p not in wanted], dropped, left)


def select_pieces(merged, order, reads, most=0, min_reads=0):
    """The merged vocabulary with the best pieces by `rank_pieces`: at most `most` (0: all), each read `min_reads` times."""
    often = sum(count >= min_reads for count in reads)
    if not often:
        raise ValueError(f"min_reads: no piece is read {min_reads} times, at most {max(reads)}; lower it, or give more text")
    chosen = closure.keep_pieces(merged.pieces, order, min(most or often, often))
    on_the_way = [piece for piece in chosen if piece in set(merged.on_the_way)]
    *_, left = closure.close_pieces(merged.base, chosen, "keep")
    return MergedVocab(merged.base, chosen, on_the_way, merged.dropped, left)


def save_tokenizer(merged, folder):
    """Write tokenizer.json, its settings and, for a SentencePiece base, tokenizer.model into a folder that may exist."""
    loading.write_tokenizer(merged.tokenizer, folder)
    if merged.base.kind == "sentencepiece":
        with paths.write_atomically(folder / "tokenizer.model") as temporary:
            temporary.write_bytes(merged.base.extend_proto(merged.pieces).SerializeToString())
