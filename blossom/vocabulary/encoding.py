"""Many texts to ids: by the tokenizer itself, or faster by an engine that must agree with it.

The engine is gigatoken (MIT): it remembers the words that it has spelled. SentencePiece and HF tokenizers merge each
line anew, which makes them several times slower.
"""

import contextlib
import gc
import json
import random
import weakref

LARGE = 500_000  # characters in one call from which an engine pays for being made
RENEWED = 200_000_000  # characters after which an engine is made anew: it forgets no word by itself
RANGES = ((0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x5D0, 0x6F0), (0x900, 0xE80), (0x1100, 0x1200), (0x2000, 0x2400))
RANGES += ((0x2581, 0x2582), (0x3000, 0x3200), (0x4E00, 0x5200), (0xAC00, 0xD7A4), (0xFF00, 0xFFF0), (0x1F300, 0x1F700))

_engines = weakref.WeakKeyDictionary()  # tokenizer -> (its size when the engine was made, engine or None, characters left)


def encode_lines(tokenizer, lines, itself=False):
    """Ids of each line: list of lists, encoded in one batch on all cores.

    itself  ask the tokenizer itself, never the engine (for what certifies the tokenizer)

    No special tokens are added, and a line that spells one ("<s>") is read as the text it is.
    """
    lines = list(lines)
    characters = sum(map(len, lines))
    if not itself and (characters >= LARGE or tokenizer in _engines) and (found := find_engine(tokenizer, characters)):
        with _no_collection():
            return found.encode_batch_list(lines)
    backend = tokenizer.backend_tokenizer
    before, backend.encode_special_tokens = backend.encode_special_tokens, True
    try:
        with _no_collection():
            return [e.ids for e in backend.encode_batch_fast(lines, add_special_tokens=False)]
    finally:
        backend.encode_special_tokens = before


@contextlib.contextmanager
def _no_collection():
    """Python's garbage collector at rest: it would look through every new list again and again (a third of the time)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def find_engine(tokenizer, characters=0):
    """The engine of a tokenizer, made when first asked for; None where gigatoken is missing, refuses or disagrees.

    characters  how many are about to be encoded
    """
    size, found, left = _engines.get(tokenizer, (None, None, 0))
    if size != len(tokenizer) or (found and left < 0):
        size, found, left = len(tokenizer), _made(tokenizer), RENEWED
    _engines[tokenizer] = size, found, left - characters
    return found


def _made(tokenizer):
    try:
        from gigatoken import Tokenizer
    except ImportError:
        return None
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if state["truncation"] or state["padding"] or not all(token["special"] for token in state["added_tokens"]):
        return None
    try:
        made = Tokenizer.from_json(json.dumps(state | {"added_tokens": []}))  # without them, "<s>" in a text is text
    except (RuntimeError, ValueError):  # a kind that it does not read, e.g. SmolLM2's, which lacks a byte
        return None
    lines = make_test_lines(300)
    return made if made.encode_batch_list(lines) == encode_lines(tokenizer, lines, itself=True) else None


def count_tokens(tokenizer, lines):
    """Tokens of some lines together, without special tokens."""
    return sum(map(len, encode_lines(tokenizer, lines)))


def make_test_lines(count, seed=0):
    """Made-up lines of every common script, runs of spaces, digits and jamo among them: list of str, always the same."""
    draw = random.Random(seed)

    def word():
        low, high = draw.choice(RANGES)
        return "".join(chr(draw.randrange(low, high)) for _ in range(draw.randint(1, 6)))

    return [draw.choice((" ", "", "  ", "\n")).join(word() for _ in range(draw.randint(1, 12))) for _ in range(count)]
