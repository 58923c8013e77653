"""kernels.c, compiled once where there is a C compiler: the passes of torch_ops.py for bfloat16 on CPU.

Each pass reads its input once and writes its output once, on all of torch's threads: about five times as fast as in
torch operations. `BLOSSOM_COMPILER` names another compiler; `none` does without.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import torch

from blossom.assets.registry import cache_folder
from blossom.common import paths
from blossom.training.cpu.torch_ops import TorchOps

SOURCE = Path(__file__).with_name("kernels.c")
# not -ffast-math: linking with it would change how the whole process rounds small numbers
FLAGS = "-O3 -march=native -fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math -freciprocal-math".split()


def pick_ops(dtype, device):
    """The fastest passes for tensors of this dtype on this device: CompiledOps where they can do it, else TorchOps."""
    library = compile_kernels() if dtype == torch.bfloat16 and torch.device(device).type == "cpu" else None
    return CompiledOps(library) if library else TorchOps


@functools.cache
def compile_kernels():
    """The library of kernels.c, compiled into the cache folder at first use; None where it cannot be compiled."""
    compiler = os.environ.get("BLOSSOM_COMPILER") or next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), "none")
    if compiler == "none" or not shutil.which(compiler):
        return None
    processor = _processor()
    wide = ["-mprefer-vector-width=512"] if "avx512" in processor else []
    command = [compiler, *FLAGS, *wide, "-fopenmp", "-shared", "-fPIC", str(SOURCE), "-lm", "-o"]
    key = hashlib.sha256(" ".join([*command[:-1], processor]).encode() + SOURCE.read_bytes()).hexdigest()[:24]
    target = cache_folder() / "kernels" / f"{key}.so"
    if not target.exists():
        with paths.write_atomically(target) as temporary:
            if subprocess.run([*command, str(temporary)], capture_output=True).returncode:
                return None
    try:
        return ctypes.CDLL(str(target))
    except OSError:
        return None


def _processor():
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


class CompiledOps:
    """The passes of `TorchOps`, same arguments and results, by the compiled library; bfloat16 on CPU alone."""

    def __init__(self, library):
        self.library = library

    def add_rms(self, x, extra, weight, eps, s):
        total = x if extra is None else s.passing.empty(x.shape, x.dtype)
        y, short, r = s.passing.empty(x.shape, s.dtype), s.kept.empty(x.shape, s.dtype), x.new_empty(len(x), 1)
        self._call("add_rms", x, extra, weight, eps, total, y, short, r, *x.shape)
        return total, y, short, r

    def norm(self, x, r, weight, s):
        y = s.passing.empty(x.shape, x.dtype)
        self._call("norm", x, r, weight, y, *x.shape)
        return y

    def rms_backward(self, dy, residual, x, r, weight, s):
        dx, short = s.passing.empty(residual.shape, residual.dtype), s.passing.empty(dy.shape, dy.dtype)
        self._call("rms_backward", dy, residual.contiguous(), x, r, weight, dx, short, *x.shape)
        return dx, short

    def swiglu(self, gate_up, s):
        inner = s.passing.empty((len(gate_up), gate_up.shape[1] // 2), s.dtype)
        self._call("swiglu", gate_up, inner, *inner.shape)
        return inner

    def swiglu_backward(self, dinner, gate_up, s):
        dgate_up = s.passing.empty(gate_up.shape, gate_up.dtype)
        self._call("swiglu_backward", dinner, gate_up, dgate_up, *dinner.shape)
        return dgate_up

    def split_heads(self, qkv, s):
        q = s.kept.empty((s.batch * s.key_heads, s.tokens * s.heads // s.key_heads, s.width), s.dtype)
        key, value = (s.kept.empty((s.batch * s.key_heads, s.tokens, s.width), s.dtype) for _ in range(2))
        self._turn_heads(qkv, q, key, value, s, 0)
        return q, key, value

    def join_heads(self, dq, dk, dv, s):
        dqkv = s.passing.empty((s.batch * s.tokens, (s.heads + 2 * s.key_heads) * s.width), s.dtype)
        self._turn_heads(dqkv, dq, dk, dv, s, 1)
        return dqkv

    def softmax(self, scores, s, first):
        p = s.kept.empty(scores.shape, s.dtype)
        self._call("softmax", scores, s.start, p, *_block(scores, s, first))
        return p

    def softmax_backward(self, dp, p, s, first):
        dscores = s.passing.empty(p.shape, p.dtype)
        self._call("softmax_backward", dp, p, s.start, dscores, *_block(dp, s, first))
        return dscores

    def exponentials(self, logits):
        total = logits.new_empty(len(logits), 1, dtype=torch.float32)
        self._call("exponentials", logits, total, *logits.shape)
        return logits, total

    def _turn_heads(self, qkv, q, key, value, s, backward):
        stride = s.cos[0].numel() if len(s.cos) > 1 else 0
        sizes = s.batch, s.tokens, s.heads, s.key_heads, s.width
        self._call("heads", qkv, q, key, value, s.cos, s.sin, stride, s.scale, *sizes, backward)

    def _call(self, name, *arguments):
        """Call a C function: contiguous tensors as pointers, None as a null pointer, floats as float, ints as int64."""
        passed = []
        for a in arguments:
            if torch.is_tensor(a):
                assert a.is_contiguous(), name
                passed.append(ctypes.c_void_p(a.data_ptr()))
            elif a is None:
                passed.append(None)
            else:
                passed.append(ctypes.c_float(a) if isinstance(a, float) else ctypes.c_int64(a))
        getattr(self.library, name)(*passed)


def _block(scores, s, first):
    groups = s.heads // s.key_heads
    return s.batch, s.key_heads, groups, s.tokens, first, scores.shape[1] // groups, scores.shape[2]
