"""Encode many lines, on all cores, with special tokens in them read as text."""

import gc
import random

RANGES = ((0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x5D0, 0x6F0), (0x900, 0xE80), (0x1100, 0x1200), (0x2000, 0x2400))
RANGES += ((0x2581, 0x2582), (0x3000, 0x3200), (0x4E00, 0x5200), (0xAC00, 0xD7A4), (0xFF00, 0xFFF0), (0x1F300, 0x1F700))


def encode_lines(tokenizer, lines):
    """Ids of each line, without special tokens ("<s>" in a line is text): list of lists."""
    backend, collects = tokenizer.backend_tokenizer, gc.isenabled()
    before, backend.encode_special_tokens = backend.encode_special_tokens, True
    gc.disable()  # it would scan the new lists again and again: a third of the time
    try:
        return [e.ids for e in backend.encode_batch_fast(list(lines), add_special_tokens=False)]
    finally:
        backend.encode_special_tokens = before
        if collects:
            gc.enable()


def count_tokens(tokenizer, lines):
    return sum(map(len, encode_lines(tokenizer, lines)))


def make_test_lines(count, seed=0):
    """Random lines of every common script, with runs of spaces, digits and jamo: list of str, the same for each seed."""
    draw = random.Random(seed)

    def word():
        low, high = draw.choice(RANGES)
        return "".join(chr(draw.randrange(low, high)) for _ in range(draw.randint(1, 6)))

    return [draw.choice((" ", "", "  ", "\n")).join(word() for _ in range(draw.randint(1, 12))) for _ in range(count)]
