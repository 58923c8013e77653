"""Which pieces a tokenizer can make, which it cannot, and which of them are worth their row.

BPE joins neighbours, the best rank first. A piece that is not what its own text becomes is *unreachable*: its row is
never looked up and never trained.
"""

import heapq
from collections import Counter

from blossom.vocabulary.pieces import split_characters


def apply_merges(units, rank):
    """BPE over some units: join the neighbours whose joint text ranks first, the leftmost of equals, until none is left.

    units   list of pieces (the base's own segmentation)
    rank    new piece -> rank, 0 first
    return  (tokens, the last two joined or None)
    """
    tokens, last, never = list(units), None, len(rank)
    while len(tokens) > 1:
        ranks = [rank.get(tokens[i] + tokens[i + 1], never) for i in range(len(tokens) - 1)]
        best = min(ranks)
        if best == never:
            break
        at = ranks.index(best)
        last = (tokens[at], tokens[at + 1])
        tokens[at : at + 2] = [tokens[at] + tokens[at + 1]]
    return tokens, last


def piece_ranks(pieces):
    """Piece -> its place in the list."""
    return {piece: i for i, piece in enumerate(pieces)}


def add_characters(base, pieces):
    """`pieces` behind the characters they need (and the steps to these): single characters first, then as they come."""
    needed = dict.fromkeys(s for piece in pieces for _, steps in split_characters(base, piece) for s in steps)
    return list(dict.fromkeys([*needed, *pieces]))


def take_in_order(base, pieces, asked, size, made_of=None):
    """The first of the asked pieces, each with what it is made of, up to `size` in all: a naive budget to compare with.

    pieces   closed, in rank order; `asked` in the donor's order
    made_of  of `find_halves`, where it is known already
    return   part of `pieces`, in rank order
    """
    made_of, known, taken = made_of or find_halves(base, pieces), set(pieces), set()
    for piece in asked:
        need, waiting = set(), [piece]
        while waiting:
            part = waiting.pop()
            if part in known and part not in taken and part not in need:
                need.add(part)
                waiting += made_of[part]
        if len(taken) + len(need) > size:
            break
        taken |= need
    return [piece for piece in pieces if piece in taken]


def close_pieces(base, pieces, policy):
    """Pieces of which every one can be made, or as they are.

    policy  "add" the pieces that are missing on the way, "drop" what cannot be made, "keep" (the paper)
    return  (pieces in rank order, those added on the way, those dropped, those left unreachable)

    Adding is cheap: a piece that stays in several tokens needs their joints from the left, all but the last. Each
    addition may stop another piece, so it is repeated until nothing is left.
    """
    pieces, added, dropped = list(pieces), [], []
    while True:
        rank = piece_ranks(pieces)
        spelled = {piece: apply_merges(base.segment(piece), rank)[0] for piece in pieces}
        stuck = {piece: tokens for piece, tokens in spelled.items() if len(tokens) > 1}
        if not stuck or policy == "keep":
            return pieces, added, dropped, list(stuck)
        before = _missing_joints(stuck, set(pieces) | base.vocabulary) if policy == "add" else {}
        if any(before.values()):
            added += [joint for joints in before.values() for joint in joints]
            pieces = [p for piece in pieces for p in (*before.get(piece, ()), piece)]
        else:  # nothing (more) to add helps
            dropped += stuck
            pieces = [piece for piece in pieces if piece not in stuck]


def _missing_joints(stuck, known):
    """Stuck piece -> what to put before it: its tokens joined from the left, where they are no pieces yet."""
    before = {}
    for piece, tokens in stuck.items():
        before[piece] = [joint for n in range(2, len(tokens)) if (joint := "".join(tokens[:n])) not in known]
        known.update(before[piece])
    return before


def find_halves(base, pieces):
    """Piece -> the tokens it is made of: two, or a character's bytes, or none when it is unreachable."""
    rank, found = piece_ranks(pieces), {}
    for piece in pieces:
        tokens, last = apply_merges(base.segment(piece), rank)
        found[piece] = () if len(tokens) > 1 else last or tuple(base.tokens(piece))
    return found


def count_usage(base, pieces, counts):
    """How often each token comes in some text: Counter of the base's and the new pieces."""
    rank, used = piece_ranks(pieces), Counter()
    for run, count in counts.items():
        for token in apply_merges(base.segment(run), rank)[0]:
            for part in (token,) if token in rank or token in base.vocabulary else base.tokens(token):
                used[part] += count
    return used


def rank_pieces(base, pieces, counts):
    """The order in which pieces can be spared on some text, and what each costs.

    pieces  in rank order
    counts  of `pieces.count_runs`
    return  (pieces, the most dispensable first; tokens of the text with all of them, without the first, ...)

    A piece that no other is made from (a leaf) can go: where it stood, its halves stand, one token more. So the
    cheapest leaf goes first and its uses pass to its halves. What is kept is closed at every size, and each smaller
    vocabulary is part of each larger one. Source: leaf-based pruning, e.g. arXiv:2512.03989.
    """
    rank, used, made_of = piece_ranks(pieces), count_usage(base, pieces, counts), find_halves(base, pieces)
    needed = Counter(half for parts in made_of.values() for half in set(parts))
    leaves = [(used[p], -rank[p], p) for p in pieces if not needed[p]]
    heapq.heapify(leaves)
    order, tokens = [], [used.total()]
    while leaves:
        count, _, piece = heapq.heappop(leaves)
        order.append(piece)
        tokens.append(tokens[-1] + count * (len(made_of[piece]) - 1 if made_of[piece] else 0))
        for half in made_of[piece]:
            used[half] += count
        for half in set(made_of[piece]):
            needed[half] -= 1
            if half in rank and not needed[half]:
                heapq.heappush(leaves, (used[half], -rank[half], half))
    return order, tokens


def keep_pieces(pieces, order, size):
    """The `size` pieces that `rank_pieces` gives up last, in rank order."""
    chosen = set(order[len(order) - size :])
    return [piece for piece in pieces if piece in chosen]
