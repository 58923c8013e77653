"""Text as training blocks: tokenized once, cached on disk by content, mixed by tokens.

The paper mixes Korean and English 7:3 (section 3.2); shares here are shares of tokens.
"""

import functools
import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blossom.assets.registry import cache_folder, make_once
from blossom.vocabulary.encoding import encode_lines

VERSION = 4  # part of every key: raise it when the format of the streams changes
IGNORED = -100  # label without loss
CHUNK = 1 << 21  # characters tokenized together, on all cores; they take a hundred times their size of memory


@dataclass
class TokenStream:
    """A text as one stream of token ids, memory-mapped."""

    tokens: np.ndarray  # (N,) unsigned integers
    offsets: np.ndarray  # (documents + 1,) int64: document i is tokens[offsets[i]:offsets[i + 1]]
    utf8_bytes: int  # size of the text
    key: str = ""  # sha256 of text, tokenizer, start and end

    def __len__(self):
        return len(self.tokens)

    def __reduce__(self):  # another process maps the same files
        return _map_stream, (Path(self.tokens.filename).parent, self.tokens.dtype, self.utf8_bytes, self.key)


def _map_stream(folder, dtype, utf8_bytes, key):
    tokens, offsets = (np.memmap(folder / f"{n}.bin", d, "r") for n, d in (("tokens", dtype), ("offsets", np.int64)))
    return TokenStream(tokens, offsets, utf8_bytes, key)


def tokenize_documents(documents, tokenizer, start, end=None, folder=None):
    """Tokenize documents to a TokenStream, or read it from the cache; each document becomes `start ids [end]`.

    documents   re-iterable of str, read twice and never all in memory
    start, end  from `start_token` and `end_token`
    folder      of the cached streams; None takes the cache folder
    """
    digest, size = hashlib.sha256(json.dumps([VERSION, start, end]).encode()), 0
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    for document in documents:
        text = document.encode()
        size += len(text)
        digest.update(len(text).to_bytes(8, "little") + text)
    if not size:
        raise ValueError("no documents to tokenize: the text is empty")
    key, dtype = digest.hexdigest(), np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    asked, target = (documents, tokenizer, start, end, dtype), (folder or cache_folder() / "packed") / key[:32]
    target = make_once(target, lambda part: _write_stream(part, *asked), movable=True, recorded=True)
    return _map_stream(target, dtype, size, key)


def _write_stream(folder, documents, tokenizer, start, end, dtype):
    folder.mkdir()
    place = 0
    with open(folder / "tokens.bin", "wb") as tokens, open(folder / "offsets.bin", "wb") as offsets:
        np.zeros(1, np.int64).tofile(offsets)
        first, second = itertools.tee(documents)
        numbers = (size // CHUNK for size in itertools.accumulate(map(len, first)))  # of each document's batch
        for _, batch in itertools.groupby(zip(numbers, second, strict=True), lambda pair: pair[0]):
            found = encode_lines(tokenizer, (document for _, document in batch))
            ids = [[start, *f] if end is None else [start, *f, end] for f in found]
            ends = place + np.cumsum([len(i) for i in ids], dtype=np.int64)
            ends.tofile(offsets)
            np.fromiter(itertools.chain.from_iterable(ids), dtype).tofile(tokens)
            place = int(ends[-1])


class Blocks:
    """Blocks of several token streams mixed by shares of tokens: a dataset for `train_model`, the same at every call.

    streams     name -> TokenStream
    weights     name -> share of the tokens; 0 leaves a stream out
    block_size  tokens per block; the last block of a stream is shorter
    tokens      how many in all; 0 means one epoch: until the first stream is used up
    isolate     add "segments", so that attention stays within a document; its first token is not predicted
    anchored    name -> share of the stream's blocks with "anchored": True (see train_model)
    [i] -> {"input_ids", "labels"[, "segments"][, "anchored"]}. Block i comes from the stream furthest below its share,
    e.g. 0 1 0 0 1 0 0 0 1 0 for shares 0.7 and 0.3. Documents are shuffled by the seed in every epoch.
    """

    ordered = True  # for train_model: mixed already, do not shuffle

    def __init__(self, streams, weights, block_size, tokens=0, seed=0, isolate=False, anchored=None):
        self._made_of = streams, weights, block_size, tokens, seed, isolate, anchored
        if set(weights) - set(streams) or not sum(weights.values()) > 0:
            raise ValueError(f"weights: expected shares of {', '.join(streams)} that sum to more than 0, found {weights}")
        self.names = [name for name in streams if weights.get(name, 0) > 0]
        self.streams = [streams[name] for name in self.names]
        for name, stream in zip(self.names, self.streams, strict=True):
            if len(stream) < block_size:
                needs = f"less than one block of {block_size}; give more text or lower block_size"
                raise ValueError(f"{name}: {len(stream)} tokens are {needs}")
        shares = np.array([weights[name] for name in self.names], dtype=float)
        self.shares, self.block_size, self.isolate, self.seed = shares / shares.sum(), block_size, isolate, seed
        self.count = [-(-len(stream) // block_size) for stream in self.streams]  # blocks of an epoch
        total = -(-tokens // block_size) if tokens else max(1, int((np.array(self.count) / self.shares).min()))
        # the stream that every block comes from, and the block's number within that stream, over all epochs
        self.source, self.turn = np.empty(total, dtype=np.int16), np.empty(total, dtype=np.int64)
        given = np.zeros(len(self.shares), dtype=np.int64)
        for i in range(total):
            chosen = int(np.argmax(self.shares * (i + 1) - given))
            self.source[i], self.turn[i] = chosen, given[chosen]
            given[chosen] += 1
        self.anchored = [(anchored or {}).get(name, 0.0) for name in self.names]
        asked = [[s.key for s in self.streams], self.shares.tolist(), block_size, total, seed, isolate, self.anchored]
        self.key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        self._shuffle = functools.lru_cache(2 * len(self.streams))(self._shuffle)  # this epoch of each stream and the next

    def __reduce__(self):
        return Blocks, self._made_of

    def __len__(self):
        return len(self.source)

    def __getitem__(self, i):
        source, turn = int(self.source[i]), int(self.turn[i])
        stream, (epoch, block) = self.streams[source], divmod(turn, self.count[source])
        order, ends = self._shuffle(source, epoch)
        low = block * self.block_size
        high = min(low + self.block_size, len(stream))
        first, last = np.searchsorted(ends, [low, high - 1], side="right")  # the block's documents, in this epoch's order
        pieces, segments = [], []
        for n in range(first, last + 1):
            document, begins = order[n], ends[n - 1] if n else 0
            start = stream.offsets[document] + max(low - begins, 0)
            pieces.append(np.asarray(stream.tokens[start : stream.offsets[document] + min(high, ends[n]) - begins]))
            segments.append(np.full(len(pieces[-1]), n - first + 1))
        ids, segments = np.concatenate(pieces).astype(np.int64), np.concatenate(segments)
        row = {"input_ids": ids, "labels": ids}
        if any(self.anchored):  # spread evenly: floor(n * share) of a stream's first n blocks
            share = self.anchored[source]
            row["anchored"] = int((turn + 1) * share) > int(turn * share)
        if self.isolate:
            begun = np.diff(segments, prepend=0) != 0
            row |= {"labels": np.where(begun, IGNORED, ids), "segments": segments}
        return row

    def _shuffle(self, source, epoch):
        """The order of a stream's documents in an epoch, and where each ends."""
        offsets = self.streams[source].offsets
        order = np.random.default_rng([self.seed, source, epoch]).permutation(len(offsets) - 1)
        return order, np.cumsum(np.diff(offsets)[order])

    def realised(self, blocks=None):
        """Tokens from each stream in the first `blocks` blocks, or in all: dict name -> int."""
        given = {}
        for i, (name, stream, count) in enumerate(zip(self.names, self.streams, self.count, strict=True)):
            turns = self.turn[:blocks][self.source[:blocks] == i]
            short = count * self.block_size - len(stream)  # tokens that a stream's last block lacks
            given[name] = len(turns) * self.block_size - int((turns % count == count - 1).sum()) * short
        return given

    def table(self, blocks=None):
        """Table 3 of the paper from this run's data, as far as `realised`: one dict per source."""
        used = self.realised(blocks)
        return [
            {"source": name, "documents": len(stream.offsets) - 1, "megabytes": stream.utf8_bytes / 1e6}
            | {"tokens": len(stream), "tokens used": used[name], "epochs": used[name] / len(stream)}
            | {"asked share": float(share), "realised share": used[name] / sum(used.values())}
            for name, stream, share in zip(self.names, self.streams, self.shares, strict=True)
        ]


def pack_examples(examples, length):
    """Pack short examples into rows of at most `length` tokens with "segments"; every example is whole, in one row.

    examples  list of dicts "input_ids", "labels" (1-D, equal lengths)
    return    list of dicts "input_ids", "labels", "segments" (int64 arrays)

    Best fit, longest first. The first label of an example is ignored, since no token before it belongs to the example.
    """
    sizes = [len(e["input_ids"]) for e in examples]
    with_room = [[] for _ in range(length + 1)]  # rows by the number of tokens that they have room for
    for i in sorted(range(len(examples)), key=lambda i: -sizes[i]):
        if sizes[i] > length:
            reason = f"{sizes[i]} tokens do not fit in a row of {length}; shorten it or take longer rows"
            raise ValueError(f"example {i}: {reason}")
        room = next((n for n in range(sizes[i], length) if with_room[n]), length)
        row = with_room[room].pop() if room < length else []
        with_room[room - sizes[i]].append([*row, i])
    packed = []
    for row in itertools.chain.from_iterable(with_room):
        whole = ((examples[i], [segment] * sizes[i]) for segment, i in enumerate(sorted(row), 1))
        parts = zip(*((e["input_ids"], [IGNORED, *e["labels"][1:]], segment) for e, segment in whole), strict=True)
        names = ("input_ids", "labels", "segments")
        packed.append({n: np.concatenate(part).astype(np.int64) for n, part in zip(names, parts, strict=True)})
    return packed
