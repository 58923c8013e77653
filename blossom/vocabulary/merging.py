"""Merging new pieces into a base tokenizer, SentencePiece BPE and byte-level BPE alike.

base = read_base("llama2-tokenizer")
asked, removed = clean_pieces(base, read_donor("kobert"), script_pattern(["Hangul"]))
merged = merge_vocab(base, asked, "add")
"""

from dataclasses import dataclass, field
from functools import cached_property

from blossom.common import paths
from blossom.vocabulary.closure import add_characters, close_pieces, count_usage, find_halves, keep_pieces, take_in_order
from blossom.vocabulary.fertility import measure_fertility
from blossom.vocabulary.spelling import spell_text


@dataclass
class MergedVocab:
    """A merged vocabulary.

    base         the base it was made from (`bases`)
    pieces       the new pieces in the base's alphabet, in the order of their ids
    tokenizer    HF fast tokenizer with all of them (made when first asked for)
    on_the_way   pieces among them that nobody asked for, needed to make others
    dropped      pieces left out because no merge makes them
    unreachable  pieces kept although no merge makes them
    """

    base: object
    pieces: list
    on_the_way: list = field(default_factory=list)
    dropped: list = field(default_factory=list)
    unreachable: list = field(default_factory=list)

    @cached_property
    def tokenizer(self):
        """The merged tokenizer."""
        return self.base.build(self.pieces)

    def base_ids(self):
        """How the base spells each new piece, by itself: list of lists of its ids."""
        ids = self.base.tokenizer.get_vocab()
        return [[ids[token] for token in self.base.tokens(piece)] for piece in self.pieces]

    def texts(self):
        """The new pieces as people read them; a part of a character shows as U+FFFD."""
        return [self.base.bytes(piece).decode(errors="replace") for piece in self.pieces]

    def sentencepiece(self):
        """The merged SentencePiece ModelProto; None for a byte-level base."""
        return self.base.extended(self.pieces) if self.base.kind == "sentencepiece" else None


def merge_vocab(base, asked, unreachable="add"):
    """Put new pieces behind a base's own.

    base         of `read_base`
    asked        pieces in the base's alphabet, in rank order; those it has already are left out
    unreachable  "add" what is missing on the way, "drop" or "keep" (the paper) what no merge makes
    return       MergedVocab

    Characters come first, so that every piece can be made of whole characters.
    """
    asked = [piece for piece in dict.fromkeys(asked) if piece not in base.vocabulary]
    closed, _, dropped, left = close_pieces(base, add_characters(base, asked), unreachable)
    wanted = set(asked)
    return MergedVocab(base, closed, [p for p in closed if p not in wanted], dropped, left)


def select_pieces(merged, order, size):
    """The merged vocabulary with its `size` most useful new pieces alone.

    order  of `shrink`: the most dispensable piece first
    size   pieces to keep; 0 keeps all

    Raises ValueError when there are fewer.
    """
    if size > len(order):
        raise ValueError(f"added_pieces: {size} asked for, the donor gives {len(order)}; ask for fewer, 0 takes all")
    chosen = keep_pieces(merged.pieces, order, size or len(order))
    on_the_way = [piece for piece in chosen if piece in set(merged.on_the_way)]
    *_, left = close_pieces(merged.base, chosen, "keep")
    return MergedVocab(merged.base, chosen, on_the_way, merged.dropped, left)


def compare_budgets(merged, order, asked, counts, sizes):
    """Tokens that some text takes with N pieces, chosen in two ways: dict N -> {"most useful first", "donor's order"}.

    order   of `shrink`, from other text; `asked` in the donor's order
    counts  of `count_runs`, of the text to measure
    """
    base, whole = merged.base, merged.pieces
    made_of = find_halves(base, whole)
    chosen = {n: (keep_pieces(whole, order, n), take_in_order(base, whole, asked, n, made_of)) for n in sizes}
    tokens = {n: [count_usage(base, part, counts).total() for part in parts] for n, parts in chosen.items()}
    return {n: {"most useful first": ours, "donor's order": naive} for n, (ours, naive) in tokens.items()}


def describe_merge(merged, sentence, texts):
    """One row about a merge: sizes, tokens per word of some texts (name -> lines), how it spells a sentence."""
    fertility = {
        f"{name}: tokens per word": measure_fertility(merged.tokenizer, ls)["fertility"] for name, ls in texts.items()
    }
    sizes = {"new": len(merged.pieces), "vocabulary": len(merged.tokenizer), "unreachable": len(merged.unreachable)}
    return sizes | fertility | {"spelled": " ".join(spell_text(merged.tokenizer, sentence))}


def summarise_merge(merged, counts):
    """What a merge comes to: its sizes and the tokens of some text (of `count_runs`)."""
    return {
        "pieces": len(merged.pieces),
        "on the way": len(merged.on_the_way),
        "dropped": len(merged.dropped),
        "unreachable": len(merged.unreachable),
        "tokens": count_usage(merged.base, merged.pieces, counts).total(),
    }


def save_tokenizer(merged, folder):
    """Write tokenizer.json, its settings and, for a SentencePiece base, tokenizer.model into a folder that may exist."""
    merged.tokenizer.save_pretrained(folder)
    if proto := merged.sentencepiece():
        with paths.write_atomically(folder / "tokenizer.model") as temporary:
            temporary.write_bytes(proto.SerializeToString())
