"""Models: load and check, resize, adapt, measure in bits per byte, merge, save.

folders.py   the device, loading, checking, resizing and saving
bits.py      bits per byte, and the tokens that documents begin and end with
adapters.py  what learns; merging adapters, checked on what was saved
"""

from blossom.models.adapters import adapt, merge, save_adapter, save_checked, trainable_share
from blossom.models.bits import bits_per_byte, end_token, measure, start_token
from blossom.models.folders import RECORD, aside, describe, device, dtype, first_new_row, load, resize, save

__all__ = [
    "RECORD",
    "adapt",
    "aside",
    "bits_per_byte",
    "describe",
    "device",
    "dtype",
    "end_token",
    "first_new_row",
    "load",
    "measure",
    "merge",
    "resize",
    "save",
    "save_adapter",
    "save_checked",
    "start_token",
    "trainable_share",
]
