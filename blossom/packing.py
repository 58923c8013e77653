"""Documents to training blocks: tokenized once, memory-mapped, mixed by tokens, seekable.

A `Stream` is one source's tokens on disk, keyed by content. `Blocks` mixes streams: block i is the same whenever it
is asked for, so a run that was killed goes on where it stood. Within an epoch of a stream every token is in exactly
one block.
"""

import hashlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from blossom import assets, paths

IGNORED = -100  # a label the loss leaves out
CHUNK = 4096  # documents tokenized at a time, so that a corpus may be larger than memory


@dataclass(frozen=True)
class Stream:
    """The tokens of one source.

    tokens      (T,) uint32, memory-mapped: the documents one after another, each opened by the start token
    offsets     (N + 1,) int64: document n is tokens[offsets[n] : offsets[n + 1]]
    utf8_bytes  of the source's text
    """

    tokens: np.ndarray
    offsets: np.ndarray
    utf8_bytes: int


def tokenize(documents, tokenizer, start, end=None, folder=None):
    """The Stream of some documents; a second call with the same content and tokenizer reads the first one's files.

    documents  str each, something that can be gone through twice (a list; not a generator)
    tokenizer  fast tokenizer; its batches use every core
    start      id before each document (`models.start_token`), the one it is also measured after
    end        id after each document; None where the next one's start tells enough
    folder     where packed text is cached; default: below the assets' cache

    Raises ValueError: no documents.
    """
    digest = hashlib.sha256(f"{tokenizer.backend_tokenizer.to_str()} {start} {end}".encode())
    for text in documents:
        digest.update(f"{len(text)}:{text}".encode())
    target = Path(folder or assets.cache_folder() / "packed") / digest.hexdigest()[:32]
    if not target.exists():
        with paths.written(target) as temporary:
            temporary.mkdir(parents=True)
            _write_stream(documents, tokenizer.backend_tokenizer, start, end, temporary)
    tokens = np.memmap(target / "tokens.u32", dtype=np.uint32, mode="r")
    return Stream(tokens, np.load(target / "offsets.npy"), paths.read_json(target / "size.json"))


def _write_stream(documents, backend, start, end, folder):
    lengths, size = [0], 0
    closing = [] if end is None else [end]
    iterator = iter(documents)
    with open(folder / "tokens.u32", "wb") as stream:
        while chunk := list(islice(iterator, CHUNK)):
            size += sum(len(text.encode()) for text in chunk)
            for encoding in backend.encode_batch_fast(chunk, add_special_tokens=False):
                ids = np.array([start, *encoding.ids, *closing], dtype=np.uint32)
                ids.tofile(stream)
                lengths.append(len(ids))
    if len(lengths) == 1:
        raise ValueError("no documents to train on")
    np.save(folder / "offsets.npy", np.cumsum(lengths, dtype=np.int64))
    paths.write_json(folder / "size.json", size)


class _Shuffled:
    """A stream's documents in the order of one epoch, addressed by token position."""

    def __init__(self, stream, seed, epoch):
        count = len(stream.offsets) - 1
        self.order = np.random.default_rng([seed, epoch]).permutation(count)
        lengths = np.diff(stream.offsets)[self.order]
        self.ends = np.cumsum(lengths)
        self.stream = stream

    def read(self, begin, end):
        """tokens begin..end of this epoch, and the number of the document each is in: two (end - begin,) arrays."""
        first, last = np.searchsorted(self.ends, [begin, end - 1], side="right")
        tokens, numbers = [], []
        for place in range(first, last + 1):
            document = self.order[place]
            low, high = self.stream.offsets[document : document + 2]
            opens = self.ends[place] - (high - low)
            part = self.stream.tokens[low + max(begin - opens, 0) : low + min(end - opens, high - low)]
            tokens.append(part)
            numbers.append(np.full(len(part), place - first + 1))
        return np.concatenate(tokens), np.concatenate(numbers)


class Blocks:
    """A mixture of streams as training rows, in training order (`ordered`: a loop must not shuffle them again).

    streams     name -> Stream
    weights     name -> share of the tokens, any positive scale; 0 leaves a source out
    block_size  tokens a row
    tokens      how many to train on, rounded up to whole blocks; 0: one epoch, which ends when the first source
                (for its share) has been read once
    seed        of the order of the documents
    isolate     True: rows carry `segments`, and a document does not see another one in its block

    Each block holds one source, and the next block goes to the source that is furthest behind its share, so the
    realised share is never a whole block away from the asked one. A source that is used up starts again in a new order.

    Raises ValueError: a source smaller than one block, a weight without a stream, no positive weight.
    """

    ordered = True

    def __init__(self, streams, weights, block_size, tokens=0, seed=0, isolate=False):
        names = [name for name, weight in weights.items() if weight > 0]
        if not names or set(names) - set(streams) or min(weights.values()) < 0:
            raise ValueError(f"weights: expected shares of {', '.join(streams)}, found {weights}")
        for name in names:
            if len(streams[name].tokens) < block_size:
                raise ValueError(
                    f"{name}: {len(streams[name].tokens)} tokens are less than one block of {block_size}; "
                    "give more text or lower block_size"
                )
        total = sum(weights[name] for name in names)
        self.names, self.streams, self.block_size = names, streams, block_size
        self.weights = {name: weights[name] / total for name in names}
        self.seed, self.isolate, self._epochs = seed, isolate, {}
        self.source, self.rank = self._schedule(self._count(tokens))

    def _per_epoch(self, name):
        """Blocks that one epoch of a source fills; its last, shorter block is filled up with padding."""
        return -(-len(self.streams[name].tokens) // self.block_size)

    def _count(self, tokens):
        if tokens:
            return -(-tokens // self.block_size)
        return max(1, int(min(self._per_epoch(n) / self.weights[n] for n in self.names)))

    def _schedule(self, count):
        """(source, rank): block i is block rank[i] of source names[source[i]]; two (count,) arrays."""
        asked = np.array([self.weights[name] for name in self.names])
        given = np.zeros(len(asked))
        source, rank = np.empty(count, np.int64), np.empty(count, np.int64)
        for i in range(count):
            nearest = int(np.argmax(asked * (i + 1) - given))
            source[i], rank[i] = nearest, given[nearest]
            given[nearest] += 1
        return source, rank

    def __len__(self):
        return len(self.source)

    def __getitem__(self, i):
        """Row i: "input_ids", "labels" and, when isolated, "segments"; each (block_size,) int64.

        Padding (the end of an epoch) has id 0, segment 0 and ignored labels; so has, when isolated, a document's first
        token, which nothing in its segment predicts.
        """
        name = self.names[self.source[i]]
        epoch, place = divmod(int(self.rank[i]), self._per_epoch(name))
        begin = place * self.block_size
        end = min(begin + self.block_size, len(self.streams[name].tokens))
        ids, labels, segments = np.zeros((3, self.block_size), np.int64)
        ids[: end - begin], segments[: end - begin] = self._epoch(name, epoch).read(begin, end)
        labels[:] = np.where(segments > 0, ids, IGNORED)
        if not self.isolate:
            return {"input_ids": ids, "labels": labels}
        labels[np.diff(segments, prepend=0) != 0] = IGNORED
        return {"input_ids": ids, "labels": labels, "segments": segments}

    def _epoch(self, name, epoch):
        if self._epochs.get(name, (None,))[0] != epoch:  # one epoch's order is kept a source
            stream_seed = self.seed * 1000 + self.names.index(name)
            self._epochs[name] = (epoch, _Shuffled(self.streams[name], stream_seed, epoch))
        return self._epochs[name][1]

    def lengths(self, upto=None):
        """Tokens (without padding) of each block, in order; (n,) array."""
        last = np.array([self._per_epoch(n) - 1 for n in self.names])
        short = np.array([len(self.streams[n].tokens) for n in self.names]) - last * self.block_size
        source, rank = self.source[:upto], self.rank[:upto]
        return np.where(rank % (last + 1)[source] == last[source], short[source], self.block_size)

    def realised(self, upto=None):
        """name -> tokens in the first `upto` blocks (all of them by default)."""
        sums = np.bincount(self.source[:upto], weights=self.lengths(upto), minlength=len(self.names))
        return {name: int(count) for name, count in zip(self.names, sums, strict=True)}

    def table(self):
        """Table 3 of this run: a dict a source with its size, its asked and its realised share of the tokens."""
        realised = self.realised()
        return [
            {
                "source": name,
                "documents": len(self.streams[name].offsets) - 1,
                "megabytes": self.streams[name].utf8_bytes / 1e6,
                "tokens": len(self.streams[name].tokens),
                "trained tokens": realised[name],
                "epochs": realised[name] / len(self.streams[name].tokens),
                "asked share": self.weights[name],
                "realised share": realised[name] / sum(realised.values()),
            }
            for name in self.names
        ]


def pack_examples(examples, length):
    """Examples of different lengths packed into rows of at most `length` tokens, each example its own segment.

    examples  dicts of "input_ids" and "labels", equally long sequences of int
    return    rows as `Blocks` makes them when isolated, without padding: the longest examples open rows, shorter ones
              fill the fullest row they fit in; nothing is cut. Deterministic.

    Raises ValueError: an example longer than `length` (its number).
    """
    for number, example in enumerate(examples):
        if len(example["input_ids"]) > length:
            raise ValueError(f"example {number}: {len(example['input_ids'])} tokens do not fit in a row of {length}")
    rows, room = [], []
    for example in sorted(examples, key=lambda e: -len(e["input_ids"])):
        size = len(example["input_ids"])
        fitting = [r for r, left in enumerate(room) if left >= size]
        place = min(fitting, key=lambda r: room[r]) if fitting else len(rows)
        if not fitting:
            rows.append([])
            room.append(length)
        rows[place].append(example)
        room[place] -= size
    return [_row(row) for row in rows]


def _row(examples):
    labels = [np.array(e["labels"], np.int64) for e in examples]
    for part in labels:
        part[0] = IGNORED  # nothing in its segment predicts the first token
    segments = [np.full(len(part), number + 1) for number, part in enumerate(labels)]
    ids = [np.array(e["input_ids"], np.int64) for e in examples]
    return {"input_ids": np.concatenate(ids), "labels": np.concatenate(labels), "segments": np.concatenate(segments)}
