"""Starting rows for new tokens, in the input and the output table; the rows of old tokens stay bit for bit.

A *table* is a (V, D) tensor. Tied models have one table for both ends, untied ones two, each with its own statistics.
"""

import torch


def random_rows(old, count, seed, std=None):
    """Normal draws, mean 0: what the paper does (§3.1, "randomly initialised").

    old     (V, D) base table
    std     of the draws; None takes the table's own
    return  (count, D), dtype of `old`
    """
    std = old.float().std().item() if std is None else std
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, old.shape[1], generator=generator) * std).to(old.dtype)


def mean_rows(old, count):
    """The mean of all base rows, `count` times: (count, D), dtype of `old`."""
    return old.float().mean(0).to(old.dtype).repeat(count, 1)


def subword_rows(old, pieces):
    """Starting rows for new tokens: the mean of the base rows that spelled them.

    old     (V, D) float tensor, base table
    pieces  N lists of ids in 0..V-1; pieces[i] is how the base spelled new token i
    return  (N, D), dtype of `old`

    Raises ValueError naming the tokens that have no pieces (their mean would be NaN).
    Source: subword initialisation, e.g. EEVE (arXiv:2402.14714); Bllossom itself draws rows at random (§3.1).
    Example: rows [2, 4] and [4, 8] -> [3, 6]
    """
    return weighted_rows(old, pieces, [[1.0] * len(ids) for ids in pieces])


def weighted_rows(old, pieces, weights):
    """Weighted means of base rows.

    old      (V, D) float tensor
    pieces   N lists of ids in 0..V-1
    weights  N lists of non-negative numbers, one for each id; each list is scaled to sum 1
    return   (N, D), dtype of `old`

    Raises ValueError naming new tokens without pieces or weight, or ids outside the table.
    """
    empty = [i for i, w in enumerate(weights) if not sum(w)]
    if empty:
        raise ValueError(f"new tokens without base pieces (counted from 0): {empty[:10]}; their mean would be NaN")
    if pieces and not 0 <= min(map(min, pieces)) <= max(map(max, pieces)) < len(old):
        raise ValueError(
            f"base pieces must be ids in 0..{len(old) - 1}, found {min(map(min, pieces))}..{max(map(max, pieces))}"
        )
    offsets = torch.tensor([0, *map(len, pieces[:-1])]).cumsum(0)
    flat = torch.tensor([i for ids in pieces for i in ids])
    scaled = torch.tensor([x / sum(w) for w in weights for x in w])
    bag = torch.nn.functional.embedding_bag(flat, old.float(), offsets, mode="sum", per_sample_weights=scaled)
    return bag.to(old.dtype)  # (N, D)


@torch.no_grad()
def collect_states(model, documents, batch_tokens=4096):
    """What the model's last layer holds before each token: its view of where the token may come.

    documents  lists of ids, each with the token that starts a document
    return     hidden (N, D) float32 and targets (N,) the ids that follow
    """
    hidden, targets = [], []
    place = model.get_input_embeddings().weight.device
    for batch in _alike(documents, batch_tokens):
        width = len(batch[-1])
        ids = torch.tensor([d + [0] * (width - len(d)) for d in batch], device=place)  # (B, T); pads come last, unseen
        real = torch.arange(1, width, device=place) < torch.tensor([len(d) for d in batch], device=place)[:, None]
        states = model.get_decoder()(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        hidden.append(states[real].float().cpu())
        targets.append(ids[:, 1:][real].cpu())
    return torch.cat(hidden), torch.cat(targets)


def _alike(documents, batch_tokens):
    """Batches of documents of about one length, at most `batch_tokens` with padding."""
    batch = []
    for document in sorted(documents, key=len):
        if batch and (len(batch) + 1) * len(document) > batch_tokens:
            yield batch
            batch = []
        batch.append(document)
    yield batch


def calibrate_rows(old, rows, hidden, targets, rounds=3, prior=2.0, most=4096):
    """Starting rows that expect each new token as often as it comes.

    old      (V, D) base output table
    rows     (N, D) starting rows of new tokens V, V+1, ... (`subword_rows`)
    hidden   (M, D), targets (M,): of `collect_states`, with `rows` in place
    prior    added to both counts: tokens that are not seen are not pushed to minus infinity
    most     contexts, spread evenly, that the expectation is taken over (its cost); all of them count what is seen
    return   (N, D), dtype of `rows`

    A mean of subword rows scores a token by what it is made of, not by how common it is. The states h that a model
    predicts from have a large common part, their mean m; a row moved by b m / |m|^2 gains about b in every logit, as an
    output bias would. So b = ln(seen + prior) - ln(expected + prior), a few times over; "expected" is the sum of the
    softmax over all contexts. The move is short (b / |m|), so in a tied table the input rows hardly change.
    Source: starting the output bias at the log of the unigram frequencies (Meister et al. 2023, arXiv:2212.09686).
    """
    mean = hidden.mean(0)
    direction = mean / mean.square().sum()
    seen = torch.bincount(targets, minlength=len(old) + len(rows))[len(old) :].float()  # (N,)
    rows, states = rows.float(), hidden[:: -(-len(hidden) // most)].to(torch.bfloat16)
    for _ in range(rounds):
        table = torch.cat([old.float(), rows]).to(torch.bfloat16).T  # (D, V+N)
        expected = sum((h @ table).float().softmax(-1)[:, len(old) :].sum(0) for h in states.split(512))  # (N,)
        expected *= len(hidden) / len(states)
        rows = rows + torch.log((seen + prior) / (expected + prior))[:, None] * direction
    return rows.to(old.dtype)
