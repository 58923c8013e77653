"""Text as training blocks: tokenized once, kept on disk by content, mixed by tokens.

    streams = {"korean": tokenize_documents(lines, tokenizer, start), ...}      # memory-mapped streams of documents
    blocks = Blocks(streams, {"korean": 0.7, "english": 0.3}, block_size=256)
    blocks[1234]                                                              # any block, in constant time

The paper mixes Korean and English 7:3 (section 3.2). Shares here are of *tokens*: a sampler that mixes documents gives
another mixture, since a document of the language that is spelled worse has more tokens.
"""

import hashlib
import itertools
import json

import numpy as np

from blossom.assets.registry import cache_folder
from blossom.common import paths

VERSION = 3  # part of every key: raise it when the same text would be packed differently
IGNORED = -100  # a label that says: nothing to learn here
CHUNK = 1 << 11  # documents tokenized together, in parallel


# ------------------------------------------------------------------------------------------------------------- streams


class TokenStream:
    """A text as one stream of token ids.

    tokens      (N,) unsigned integers, memory-mapped when on disk
    offsets     (documents + 1,) int64: document i is tokens[offsets[i]:offsets[i + 1]]
    utf8_bytes  size of the text
    key         sha256 of text, tokenizer and marks ("" for a stream that is not on disk)
    """

    def __init__(self, tokens, offsets, utf8_bytes, key=""):
        self.tokens, self.offsets, self.utf8_bytes, self.key = tokens, offsets, utf8_bytes, key

    @classmethod
    def open(cls, folder):
        """The stream that `tokenize_documents` left in a folder."""
        about = paths.read_json(folder / "about.json")
        tokens = np.memmap(folder / "tokens.bin", dtype=about["dtype"], mode="r")
        offsets = np.memmap(folder / "offsets.bin", dtype=np.int64, mode="r")
        return cls(tokens, offsets, about["utf8_bytes"], about["key"])

    def __len__(self):
        return len(self.tokens)


def tokenize_documents(documents, tokenizer, start, end=None, folder=None):
    """A TokenStream of documents `start ids [end]`; the same text with the same tokenizer is found on disk, not made again.

    documents  re-iterable of str (read twice: for its key, then for its tokens; never all in memory)
    start      id before every document (start_token), what `bits_per_byte` begins with too
    end        id after every document; None where the next document's start says it
    folder     where streams are kept; None takes the cache folder's

    Raises ValueError when there are no documents.
    """
    key, size = _key(documents, tokenizer, start, end)
    if not size:
        raise ValueError("no documents to tokenize: the text is empty")
    target = (folder or cache_folder() / "packed") / key[:32]
    if not (target / "about.json").exists():
        with paths.write_atomically(target) as temporary:
            temporary.mkdir()
            about = _write_stream(temporary, documents, tokenizer, start, end)
            paths.write_json(temporary / "about.json", about | {"key": key, "utf8_bytes": size})
    return TokenStream.open(target)


def _key(documents, tokenizer, start, end):
    digest, size = hashlib.sha256(), 0
    digest.update(json.dumps([VERSION, start, end]).encode() + tokenizer.backend_tokenizer.to_str().encode())
    for document in documents:
        text = document.encode()
        size += len(text)
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest.hexdigest(), size


def _write_stream(folder, documents, tokenizer, start, end):
    """tokens.bin and offsets.bin; fast tokenizers spread a batch over all cores."""
    dtype = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    place, documents = 0, iter(documents)
    with open(folder / "tokens.bin", "wb") as tokens, open(folder / "offsets.bin", "wb") as offsets:
        np.zeros(1, np.int64).tofile(offsets)
        while batch := list(itertools.islice(documents, CHUNK)):
            found = tokenizer(batch, add_special_tokens=False).input_ids
            ids = [[start, *f] if end is None else [start, *f, end] for f in found]
            ends = place + np.cumsum([len(i) for i in ids], dtype=np.int64)
            ends.tofile(offsets)
            np.fromiter(itertools.chain.from_iterable(ids), dtype).tofile(tokens)
            place = int(ends[-1])
    return {"dtype": np.dtype(dtype).name, "tokens": place}


# ------------------------------------------------------------------------------------------------------------- mixing


class Blocks:
    """Blocks of several streams in shares of tokens: a dataset for `train_model`, seekable, the same at every call.

    streams     name -> TokenStream;  weights  name -> share of the tokens (0 leaves a stream out)
    block_size  tokens a block; the last block of a stream is shorter, never dropped
    tokens      how many to give; 0 gives one epoch: until the first stream is used up at these shares
    isolate     rows have `segments`: no token attends to another document, and a document's first token is no target
    anchored    name -> share of that stream's blocks whose rows say `anchored`: True (see train_model)

    [i] -> {"input_ids", "labels"[, "segments"][, "anchored"]}, int64 arrays of one length.
    Block i comes from the stream that is furthest behind its share, so no share is ever a block off. A stream gives all
    its documents, in an order drawn by the seed, before it gives one again, and then in another order.

    Raises ValueError: weights that name no stream or sum to 0, a stream shorter than one block.
    """

    ordered = True  # for train_model: mixed already, do not shuffle

    def __init__(self, streams, weights, block_size, tokens=0, seed=0, isolate=False, anchored=None):
        if set(weights) - set(streams) or not sum(weights.values()) > 0:
            raise ValueError(f"weights: expected shares of {', '.join(streams)} that sum to more than 0, found {weights}")
        self.names = [name for name in streams if weights.get(name, 0) > 0]
        self.streams = [streams[name] for name in self.names]
        for name, stream in zip(self.names, self.streams, strict=True):
            if len(stream) < block_size:
                raise ValueError(
                    f"{name}: {len(stream)} tokens are less than one block of {block_size}; "
                    "give more text or lower block_size"
                )
        shares = np.array([weights[name] for name in self.names], dtype=float)
        self.shares, self.block_size, self.isolate, self.seed = shares / shares.sum(), block_size, isolate, seed
        self.count = [-(-len(stream) // block_size) for stream in self.streams]
        total = -(-tokens // block_size) if tokens else max(1, int((np.array(self.count) / self.shares).min()))
        self.source, self.turn = _schedule(self.shares, total)
        self.anchored = [(anchored or {}).get(name, 0.0) for name in self.names]
        asked = [[s.key for s in self.streams], self.shares.tolist(), block_size, total, seed, isolate, self.anchored]
        self.key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        self._orders = {}

    def __len__(self):
        return len(self.source)

    def __getitem__(self, i):
        stream, order, ends, block = self._find(i)
        low = block * self.block_size
        high = min(low + self.block_size, len(stream))
        first, last = np.searchsorted(ends, [low, high - 1], side="right")  # the documents it touches, in this epoch's order
        pieces, number = [], []
        for n in range(first, last + 1):
            document, begins = order[n], ends[n - 1] if n else 0
            start = stream.offsets[document] + max(low - begins, 0)
            pieces.append(np.asarray(stream.tokens[start : stream.offsets[document] + min(high, ends[n]) - begins]))
            number.append(np.full(len(pieces[-1]), n - first + 1))
        ids = np.concatenate(pieces).astype(np.int64)
        row = {"input_ids": ids, "labels": ids} | ({"anchored": self._is_anchored(i)} if any(self.anchored) else {})
        if not self.isolate:
            return row
        segments = np.concatenate(number)
        begun = np.diff(segments, prepend=0) != 0
        return row | {"labels": np.where(begun, IGNORED, ids), "segments": segments}

    def _is_anchored(self, i):
        """Spread evenly: of a stream's first n blocks, floor(n * share) are."""
        share, turn = self.anchored[self.source[i]], int(self.turn[i])
        return int((turn + 1) * share) > int(turn * share)

    def _find(self, i):
        """Block i's stream, its documents' order in that epoch, where each ends in it, and which block of it this is."""
        source, turn = int(self.source[i]), int(self.turn[i])
        stream, count = self.streams[source], self.count[source]
        key = source, turn // count  # the second: how often the stream has been used up before
        if key not in self._orders:
            order = np.random.default_rng([self.seed, *key]).permutation(len(stream.offsets) - 1)
            self._orders = {k: v for k, v in self._orders.items() if k[0] != source or k[1] >= key[1] - 1}
            self._orders[key] = order, np.cumsum(np.diff(stream.offsets)[order])
        return stream, *self._orders[key], turn % count

    def lengths(self):
        """Tokens of every block, (blocks,): block_size, but for the last block of a stream."""
        sizes = np.full(len(self), self.block_size)
        for source, (stream, count) in enumerate(zip(self.streams, self.count, strict=True)):
            sizes[(self.source == source) & (self.turn % count == count - 1)] = len(stream) - (count - 1) * self.block_size
        return sizes

    def realised(self, blocks=None):
        """Tokens given by each stream in the first `blocks` blocks (None: in all): dict name -> int."""
        sizes = self.lengths()[:blocks]
        return {name: int(sizes[self.source[:blocks] == i].sum()) for i, name in enumerate(self.names)}

    def table(self):
        """Table 3 of the paper (source, size, content) from this run's own data: one dict a source."""
        used = self.realised()
        return [
            {
                "source": name,
                "documents": len(stream.offsets) - 1,
                "megabytes": stream.utf8_bytes / 1e6,
                "tokens": len(stream),
                "tokens used": used[name],
                "epochs": used[name] / len(stream),
                "asked share": float(share),
                "realised share": used[name] / sum(used.values()),
            }
            for name, stream, share in zip(self.names, self.streams, self.shares, strict=True)
        ]


def _schedule(shares, total):
    """Which stream gives block i, and as its how-manieth: two (total,) arrays.

    Of the streams that may give one without overshooting by a block, the one that would fall behind first gives next.
    Example: shares [0.7, 0.3] -> 0 1 0 0 1 0 0 0 1 0
    """
    counts = np.zeros(len(shares), dtype=np.int64)
    source, turn = np.empty(total, dtype=np.int16), np.empty(total, dtype=np.int64)
    for i in range(total):
        chosen = int(np.argmax(shares * (i + 1) - counts))
        source[i], turn[i] = chosen, counts[chosen]
        counts[chosen] += 1
    return source, turn


# ------------------------------------------------------------------------------------------------------------ examples


def pack_examples(examples, length):
    """Several short examples in a row of at most `length` tokens, kept apart by `segments`; for instruction tuning.

    examples  list of dicts "input_ids", "labels" (1-D, equal lengths)
    return    list of dicts "input_ids", "labels", "segments" (int64 arrays); every example is whole, in exactly one row

    First fit, longest first. The label of an example's first token is dropped: nothing of its own stands before it.
    Raises ValueError naming an example that is longer than `length`.
    """
    rows, room = [], []
    for i in sorted(range(len(examples)), key=lambda i: -len(examples[i]["input_ids"])):
        size = len(examples[i]["input_ids"])
        if size > length:
            raise ValueError(f"example {i}: {size} tokens do not fit in a row of {length}; shorten it or lengthen the row")
        place = next((r for r, free in enumerate(room) if free >= size), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(length)
        rows[place].append(i)
        room[place] -= size
    return [_joined([examples[i] for i in sorted(row)]) for row in rows]


def _joined(examples):
    def column(parts):
        return np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])

    return {
        "input_ids": column([e["input_ids"] for e in examples]),
        "labels": column([[IGNORED, *e["labels"][1:]] for e in examples]),
        "segments": column([[n] * len(e["input_ids"]) for n, e in enumerate(examples, 1)]),
    }
