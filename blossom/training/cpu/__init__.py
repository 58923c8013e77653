"""A Llama decoder's forward and backward passes written out for training adapters on CPU.

decoder.py    the layers
attention.py  causal attention within segments
passes.py     the element-wise passes, in torch
kernels.py    the same passes compiled from kernels.c
memory.py     buffers that are used again
"""
