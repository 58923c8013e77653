"""Blocks of the processor's memory that are used again: a fresh page costs more than the pass that fills it."""

import math
import mmap
import sys

import numpy as np
import torch

_lone = [np.empty(1)]
FREE = sys.getrefcount(_lone[0])  # what a block in a list counts when nobody else holds it


class Memory:
    """Lends tensors, and the same memory again once nothing refers to such a tensor or to a view of it.

    A large block comes from the system page by page, cleared, and goes back when it is freed: measured at 55 ms for the
    122 MB gradient of an embedding table, where writing it takes 5. Smaller ones leave holes between each other that
    nothing fits into: 220 MB of them beside 480 that were used. Elsewhere than on a processor, torch's own allocator
    does this already.
    """

    def __init__(self):
        self.blocks = []

    def empty(self, shape, dtype, device="cpu"):
        """A tensor of this shape (a sequence of ints), its values undefined."""
        if torch.device(device).type != "cpu":
            return torch.empty(shape, dtype=dtype, device=device)
        size = math.prod(shape) * dtype.itemsize
        return torch.from_numpy(self._block(size)[:size]).view(dtype).view(shape)

    def _block(self, size):
        """A free block of `size` bytes to twice as many, the smallest there is, or a new one; free smaller ones then go."""
        free = [i for i in range(len(self.blocks)) if sys.getrefcount(self.blocks[i]) == FREE]
        fitting = [i for i in free if size <= self.blocks[i].nbytes <= 2 * size + mmap.PAGESIZE]
        if fitting:
            return self.blocks[min(fitting, key=lambda i: self.blocks[i].nbytes)]
        for i in reversed(free):
            if self.blocks[i].nbytes < size:
                del self.blocks[i]
        self.blocks.append(np.frombuffer(_pages(-(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE), np.uint8))
        return self.blocks[-1]


def _pages(size):
    """Bytes straight from the system, in huge pages where it has them."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return bytearray(size)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages
