"""A Llama decoder's forward and backward passes for training adapters on CPU.

decoder.py       the layers
attention.py     causal attention within segments
torch_ops.py     the element-wise passes, in torch
compiled_ops.py  the same passes from kernels.c
memory.py        reused buffers
"""
