"""The operations of torch_ops.py as fused kernels in C (kernels.c), for bfloat16 on CPU.

They are about five times as fast as torch operations. The library is compiled once, if there is a C compiler; the variable
BLOSSOM_COMPILER names another compiler, or `none`.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from blossom.assets.registry import cache_folder, make_once
from blossom.training.cpu.torch_ops import TorchOps

SOURCE = Path(__file__).with_name("kernels.c")
# not -ffast-math: linking with it would change how the whole process rounds small numbers
FLAGS = "-O3 -march=native -fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math -freciprocal-math".split()


def pick_ops(dtype, device):
    """CompiledOps for bfloat16 on CPU, where they compile; else TorchOps."""
    library = compile_kernels() if dtype == torch.bfloat16 and torch.device(device).type == "cpu" else None
    return CompiledOps(library) if library else TorchOps()


@functools.cache
def compile_kernels():
    """Load the library of kernels.c, compiled into the cache folder at first use; None where that fails, which is said."""
    compiler = shutil.which(os.environ.get("BLOSSOM_COMPILER") or next(filter(shutil.which, ("cc", "gcc", "clang")), "none"))
    if not compiler:
        print("no C compiler (cc, gcc, clang) is used: training takes half as long again", file=sys.stderr)
        return None
    cpuinfo = Path("/proc/cpuinfo")  # what -march=native depends on
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    processor = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    wide = ["-mprefer-vector-width=512"] if "avx512" in processor else []
    command = [compiler, *FLAGS, *wide, "-fopenmp", "-shared", "-fPIC", str(SOURCE), "-lm", "-o"]
    version = Path(compiler).stat().st_mtime_ns, *command[:-1], processor
    key = hashlib.sha256(" ".join(map(str, version)).encode() + SOURCE.read_bytes()).hexdigest()[:24]
    target = cache_folder() / "kernels" / f"{key}.so"
    try:
        build = lambda temporary: subprocess.run([*command, str(temporary)], capture_output=True, check=True)  # noqa: E731
        return ctypes.CDLL(str(make_once(target, build, movable=True, recorded=True)))
    except (subprocess.SubprocessError, OSError, RuntimeError) as error:
        print(f"kernels.c is not compiled, torch is used, which is slower ({error})", file=sys.stderr)
        return None


class CompiledOps:
    """The operations of `TorchOps`, with the same arguments and results, in memory from the pools of `s`."""

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
        batch = s.batch * s.key_heads
        q = s.kept.empty((batch, s.tokens * s.heads // s.key_heads, s.width), s.dtype)
        k, v = (s.kept.empty((batch, s.tokens, s.width), s.dtype) for _ in range(2))
        self._turn_heads(qkv, q, k, v, s, 0)
        return q, k, v

    def join_heads(self, dq, dk, dv, s):
        dqkv = s.passing.empty((s.batch * s.tokens, (s.heads + 2 * s.key_heads) * s.width), s.dtype)
        self._turn_heads(dqkv, dq, dk, dv, s, 1)
        return dqkv

    def _turn_heads(self, qkv, q, k, v, s, backward):
        stride = s.cos[0].numel() if len(s.cos) > 1 else 0
        sizes = s.batch, s.tokens, s.heads, s.key_heads, s.width
        self._call("heads", qkv, q, k, v, s.cos, s.sin, stride, s.scale, *sizes, backward)

    def softmax(self, scores, s, first):
        p = s.kept.empty(scores.shape, s.dtype)
        self._call("softmax", scores, s.start, p, *_softmax_sizes(scores, s, first))
        return p

    def softmax_backward(self, dp, p, s, first):
        dscores = s.passing.empty(p.shape, p.dtype)
        self._call("softmax_backward", dp, p, s.start, dscores, *_softmax_sizes(dp, s, first))
        return dscores

    def exponentials(self, logits):
        total = logits.new_empty(len(logits), 1, dtype=torch.float32)
        self._call("exponentials", logits, total, *logits.shape)
        return logits, total

    def _call(self, name, *arguments):
        """Call a C function: tensors and None become pointers, floats float, ints int64."""
        assert all(a.is_contiguous() for a in arguments if torch.is_tensor(a)), name
        types = {float: ctypes.c_float, int: ctypes.c_int64, type(None): ctypes.c_void_p}
        passed = (ctypes.c_void_p(a.data_ptr()) if torch.is_tensor(a) else types[type(a)](a) for a in arguments)
        getattr(self.library, name)(*passed)


def _softmax_sizes(scores, s, first):
    groups = s.heads // s.key_heads
    return s.batch, s.key_heads, groups, s.tokens, first, scores.shape[1] // groups, scores.shape[2]
