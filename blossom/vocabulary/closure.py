"""Which pieces BPE can make, and which are used often enough to keep.

A piece is *unreachable* when BPE does not join the piece's own text into it. Its embedding row is then never trained.
"""

import heapq
from collections import Counter


def apply_merges(units, rank):
    """Apply BPE: repeatedly join the two neighbours whose text ranks first: (tokens, the last two joined or None)."""
    tokens, last, end = list(units), None, len(units)
    after, before = list(range(1, end + 1)), list(range(-1, end - 1))  # the neighbours of each token that is left
    found = ((left + right, i) for i, (left, right) in enumerate(zip(tokens, tokens[1:], strict=False)))
    places = [(rank[joint], i, joint) for joint, i in found if joint in rank]
    heapq.heapify(places)  # so that the time of a text without spaces does not grow with its square
    while places:
        _, i, joint = heapq.heappop(places)
        j = after[i]
        if j == end or tokens[i] is None or tokens[i] + tokens[j] != joint:  # one of the two has been joined to another
            continue
        last = tokens[i], tokens[j]
        tokens[i], tokens[j], after[i] = joint, None, after[j]
        for a, b in ((before[i], i), (i, after[i])):
            if a >= 0 and b < end:
                before[b], joint = a, tokens[a] + tokens[b]
                if joint in rank:
                    heapq.heappush(places, (rank[joint], a, joint))
    return [token for token in tokens if token is not None], last


def close_pieces(base, pieces, policy):
    """Handle unreachable pieces: "add" the steps they need, "drop" them, or "keep" them as they are (the paper).

    Returns (pieces in rank order, pieces dropped, pieces left unreachable). The added steps join a piece's tokens from the
    left. A step may make another piece unreachable, so this is repeated until every piece can be made.
    """
    pieces, dropped = list(pieces), []
    while True:
        rank = {piece: i for i, piece in enumerate(pieces)}
        spelled = {piece: apply_merges(base.segment(piece), rank)[0] for piece in pieces}
        stuck = {piece: tokens for piece, tokens in spelled.items() if len(tokens) > 1}
        if not stuck or policy == "keep":
            return pieces, dropped, list(stuck)
        before, known, closed = len(pieces), set(pieces) | base.vocabulary, []
        for piece in pieces:
            tokens = stuck.get(piece, ()) if policy == "add" else ()
            steps = [joint for n in range(2, len(tokens)) if (joint := "".join(tokens[:n])) not in known]
            known.update(steps)
            closed += [*steps, piece]
        pieces = closed
        if len(closed) == before:  # nothing to add
            dropped += stuck
            pieces = [piece for piece in pieces if piece not in stuck]


def find_halves(base, pieces):
    """Dict piece -> the two tokens that the last merge joins, or its byte tokens, or () when it is unreachable."""
    rank, found = {piece: i for i, piece in enumerate(pieces)}, {}
    for piece in pieces:
        tokens, last = apply_merges(base.segment(piece), rank)
        found[piece] = () if len(tokens) > 1 else last or tuple(base.tokens(piece))
    return found


def count_usage(base, pieces, counts):
    """Count the tokens, of the base and new, that the runs of `count_runs` become with `pieces` in rank order: Counter."""
    rank, used = {piece: i for i, piece in enumerate(pieces)}, Counter()
    for run, count in counts.items():
        for token in apply_merges(base.segment(run), rank)[0]:
            for part in (token,) if token in rank or token in base.vocabulary else base.tokens(token):
                used[part] += count
    return used


def rank_pieces(base, pieces, counts):
    """The order in which to remove pieces, least useful first, and how often each is read in `counts` when it goes.

    Only a piece that no other is made from can be removed. The least used one is next; its uses are added to its two halves,
    so the numbers never fall. Each smaller vocabulary is part of each larger one. Source: leaf pruning, arXiv:2512.03989.
    """
    rank = {piece: i for i, piece in enumerate(pieces)}
    used, made_of = count_usage(base, pieces, counts), find_halves(base, pieces)
    needed = Counter(half for parts in made_of.values() for half in set(parts))
    leaves = [(used[p], -rank[p], p) for p in pieces if not needed[p]]
    heapq.heapify(leaves)
    order, reads = [], []
    while leaves:
        count, _, piece = heapq.heappop(leaves)
        order.append(piece)
        reads.append(count)
        for half in made_of[piece]:
            used[half] += count
        for half in set(made_of[piece]):
            needed[half] -= 1
            if half in rank and not needed[half]:
                heapq.heappush(leaves, (used[half], -rank[half], half))
    return order, reads


def keep_pieces(pieces, order, size):
    """The `size` most useful pieces by the `order` of `rank_pieces`, in rank order."""
    chosen = set(order[len(order) - size :])
    return [piece for piece in pieces if piece in chosen]


def take_in_order(halves, asked, size):
    """The first pieces of `asked`, with all pieces they are made of (`find_halves`): at most `size`, in rank order."""
    taken = set()
    for piece in asked:
        need = new = {piece} & halves.keys()
        while new := {half for part in new for half in halves[part] if half in halves} - need:
            need = need | new
        if len(taken | need) > size:
            break
        taken |= need
    return [piece for piece in halves if piece in taken]
