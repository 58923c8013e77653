"""Reused CPU buffers: a fresh page from the system costs more than the operation that fills it."""

import math
import mmap
import sys

import numpy as np
import torch

_lone = [np.empty(1)]
FREE = sys.getrefcount(_lone[0])  # the reference count of a block that only the pool's list holds


class BufferPool:
    """Gives out tensors, and reuses their memory when nothing refers to them or their views, as CUDA's allocator does."""

    def __init__(self):
        self.blocks = []

    def empty(self, shape, dtype, device="cpu"):
        """An uninitialised tensor."""
        if torch.device(device).type != "cpu":
            return torch.empty(shape, dtype=dtype, device=device)
        size = math.prod(shape) * dtype.itemsize
        return torch.from_numpy(self._block(size)[:size]).view(dtype).view(shape)

    def _block(self, size):
        """The smallest free block of `size` to twice as many bytes; else a new one, which replaces free smaller ones."""
        free = [i for i in range(len(self.blocks)) if sys.getrefcount(self.blocks[i]) == FREE]
        fitting = [i for i in free if size <= self.blocks[i].nbytes <= 2 * size + mmap.PAGESIZE]
        if fitting:
            return self.blocks[min(fitting, key=lambda i: self.blocks[i].nbytes)]
        for i in reversed(free):
            if self.blocks[i].nbytes < size:
                del self.blocks[i]
        pages = mmap.mmap(-1, -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            pages.madvise(mmap.MADV_HUGEPAGE)
        self.blocks.append(np.frombuffer(pages, np.uint8))
        return self.blocks[-1]
