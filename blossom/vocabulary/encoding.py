"""Encode many lines: with the tokenizer, or several times faster with gigatoken, whose ids are checked against it."""

import gc
import json
import random
import weakref

LARGE = 500_000  # characters in one call from which building an engine pays
RANGES = ((0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x5D0, 0x6F0), (0x900, 0xE80), (0x1100, 0x1200), (0x2000, 0x2400))
RANGES += ((0x2581, 0x2582), (0x3000, 0x3200), (0x4E00, 0x5200), (0xAC00, 0xD7A4), (0xFF00, 0xFFF0), (0x1F300, 0x1F700))

_engines = weakref.WeakKeyDictionary()  # tokenizer -> (its size when the engine was built, engine or None, characters left)


def encode_lines(tokenizer, lines, itself=False):
    """Ids of each line, without special tokens ("<s>" in a line is text): list of lists. `itself` avoids gigatoken."""
    lines = list(lines)
    characters = sum(map(len, lines))
    wanted = not itself and (characters >= LARGE or tokenizer in _engines)
    engine = find_engine(tokenizer, characters) if wanted else None
    backend, collects = tokenizer.backend_tokenizer, gc.isenabled()
    before, backend.encode_special_tokens = backend.encode_special_tokens, True
    gc.disable()  # it would scan the new lists again and again: a third of the time
    try:
        if engine:
            return engine.encode_batch_list(lines)
        return [e.ids for e in backend.encode_batch_fast(lines, add_special_tokens=False)]
    finally:
        backend.encode_special_tokens = before
        if collects:
            gc.enable()


def find_engine(tokenizer, characters=0):
    """The gigatoken engine of a tokenizer, built on first use; None where it is missing, refuses it or gives other ids."""
    size, engine, left = _engines.get(tokenizer, (None, None, 0))
    if size != len(tokenizer) or (engine and left < 0):
        size, engine, left = len(tokenizer), _build_engine(tokenizer), 200_000_000  # its cache only grows
    _engines[tokenizer] = size, engine, left - characters
    return engine


def _build_engine(tokenizer):
    try:
        from gigatoken import Tokenizer
    except ImportError:
        return None
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if state["truncation"] or state["padding"] or not all(token["special"] for token in state["added_tokens"]):
        return None
    try:
        engine = Tokenizer.from_json(json.dumps(state | {"added_tokens": []}))  # so that "<s>" in a text is text
    except (RuntimeError, ValueError):  # a kind it does not support, e.g. SmolLM2's vocabulary, which lacks a byte
        return None
    lines = make_test_lines(300)
    return engine if engine.encode_batch_list(lines) == encode_lines(tokenizer, lines, itself=True) else None


def count_tokens(tokenizer, lines):
    return sum(map(len, encode_lines(tokenizer, lines)))


def make_test_lines(count, seed=0):
    """Random lines of every common script, with runs of spaces, digits and jamo: list of str, the same for each seed."""
    draw = random.Random(seed)

    def word():
        low, high = draw.choice(RANGES)
        return "".join(chr(draw.randrange(low, high)) for _ in range(draw.randint(1, 6)))

    return [draw.choice((" ", "", "  ", "\n")).join(word() for _ in range(draw.randint(1, 12))) for _ in range(count)]
