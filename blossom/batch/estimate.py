"""What a training takes, before it starts: parameters, memory and operations, from the shape of the model.

Parameters are counted on torch's meta device (shapes without weights).
"""

import copy
import warnings
from dataclasses import dataclass

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from blossom.assets.registry import fetch_asset
from blossom.common import paths
from blossom.models.adapters import adapt_model, trainable_share
from blossom.models.loading import check_config, find_layers, pick_device, pick_dtype
from blossom.training import tables
from blossom.training.cpu import attention, decoder
from blossom.training.settings import FROZEN_ROWS, check_options

NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes of a weight: 4 bits, a scale of 8 bits for 64, a scale of 32 bits for 256 scales
RESERVE = {"cpu": 0.85e9, "cuda": 2e9}  # bytes of Python, torch and transformers; of CUDA's context and workspaces (assumed)


def estimate_run(p, start, batch, length, labelled=1.0, shards=1, done=None):
    """Estimate the memory of training the model in `start` (folder or asset) on this machine: bytes at its peak.

    p         parameters of stage 03 or 04
    batch     sequences in a forward pass, of at most `length` tokens
    labelled  share of the tokens that have a label
    shards    devices that share weights and optimizer state (FSDP)
    done      result of a finished training (`read_result`), perhaps of several cards: then nothing is refused
    Raises MemoryError with the parameters to lower when the training does not fit.
    """
    check_options(p)
    folder = fetch_asset(str(start))
    check_config(folder, start)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    size, width, on_cpu = measure_size(config, p), pick_dtype(p.precision).itemsize, pick_device().type == "cpu"
    memory = training_bytes(size, p, batch, length, width, shards, labelled, on_cpu)
    stored = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
    if on_cpu:  # loading needs the stored weights; merging at the end, in the same process, twice these and the frozen ones
        memory = max(memory, RESERVE["cpu"] + (2 * stored + width * (size.total - size.trained) if shards == 1 else stored))
    free = free_bytes()
    if memory > free and not done:
        names = ("batch_size", "block_size", "sft_batch_size", "sequence_length", "lora_rank")
        ways = ["lower " + ", ".join(name for name in names if hasattr(p, name))]
        ways += ["take `trainable: lora+new-rows`"] if p.trainable not in FROZEN_ROWS else []
        ways += ["set `activation_checkpointing: true`"] if not p.activation_checkpointing else []
        ways += ["set `quantize: nf4`"] if p.quantize == "none" and p.trainable != "full" and not on_cpu else []
        ways += ["or choose a smaller `base_model`"]
        told = f"Training takes about {memory / 1e9:.1f} GB of memory (free: {free / 1e9:.1f} GB)"
        raise MemoryError(f"{told}. To make it fit: {', '.join(ways)}.")
    return memory


@dataclass(frozen=True)
class ModelSize:
    """Numbers of parameters of a model, and the config of its decoder."""

    config: PretrainedConfig
    trained: int
    total: int
    layers: int  # of the decoder's layers, without adapters
    tables: int  # of the embedding tables
    packed: int  # in NF4


def measure_size(config, p=None, new_rows=0):
    """The ModelSize of a config with `new_rows` embedding rows added; `p` says what is trained (None: nothing)."""
    text = (config := copy.deepcopy(config)).get_text_config()
    if new_rows:
        config.first_new_row, text.vocab_size = text.vocab_size, text.vocab_size + new_rows
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        layers = sum(q.numel() for q in find_layers(model).parameters())
        linear = sum(m.weight.numel() for m in find_layers(model).modules() if type(m) is torch.nn.Linear)
        ends = {m.weight for m in (model.get_input_embeddings(), model.get_output_embeddings())}  # one when tied
        with warnings.catch_warnings(action="ignore"):
            adapted = adapt_model(model, p.trainable, p.lora_rank, p.lora_alpha, p.lora_targets) if p else model
    share, packed = trainable_share(adapted), linear if p and p.quantize == "nf4" else 0
    copied = sum(q.numel() for n, q in adapted.named_parameters() if "trainable_tokens_delta" in n)  # beside the frozen rows
    return ModelSize(text, share["trained"] if p else 0, share["all"] + copied, layers, sum(q.numel() for q in ends), packed)


def training_bytes(size, p, batch, length, width=2, shards=1, labelled=1.0, on_cpu=False):
    """Bytes at the peak of training, on each device. `width`: bytes of a frozen weight and of an activation.

    A trained parameter takes 16 bytes: itself, its gradient and Adam's two moments in float32.
    """
    weights = (width * (size.total - size.trained - size.packed) + NF4 * size.packed + 16 * size.trained) / shards
    if shards > 1:  # FSDP gathers one layer at a time, the embedding tables in float32, and their gradients
        weights += 2 * width * size.layers / _read_shape(size.config)[2] + 8 * size.tables
    activations = _activation_bytes(size, p, batch, length, width, labelled, on_cpu)
    return RESERVE["cpu" if on_cpu else "cuda"] + weights + activations


def _activation_bytes(size, p, batch, length, width, labelled, on_cpu):
    """Bytes that layers and loss keep of a batch for the backward pass; the factors 1.3 and 1.05 were measured."""
    tokens, (hidden, inner, layers, heads, key_values, _) = batch * length, _read_shape(size.config)
    if not on_cpu or p.activation_checkpointing or p.trainable == "full" or length > decoder.LONGEST:
        layer = 6 * hidden + 4 * key_values + 6 * inner
        return 1.3 * width * tokens * (2 * layer + layers * hidden if p.activation_checkpointing else layers * layer)
    keys = (length + min(attention.BLOCK, length)) / 2  # mean keys per query
    layer = 3 * hidden + 2 * key_values + 2 * inner + heads * keys
    layer += hidden if "o_proj" in p.lora_targets else 0
    predicted = min(tokens * labelled, tables.TILE["cpu"][0])
    logits = predicted * min(size.trained / hidden, size.config.vocab_size)  # of the rows that are trained
    return 1.05 * width * (tokens * layer * layers + logits)


def _read_shape(config):
    """(width of the states and of the MLP, layers, heads, width of all keys and of a head): the largest of all layers."""

    def find(default, *names):
        found = [getattr(c, name, None) for c in configs for name in names]
        return max((n for x in found for n in (x if isinstance(x, list | tuple) else [x]) if n), default=default)

    configs = [*config.per_layer_config] if config.is_heterogeneous else [config]  # such as Gemma-4's
    hidden, heads = config.hidden_size, find(1, "num_attention_heads")  # 1: Mamba has none
    width = find(hidden // heads, "head_dim")
    keys = width * find(heads, "num_key_value_heads")
    return hidden, find(4 * hidden, "intermediate_size", "ffn_dim", "n_inner"), config.num_hidden_layers, heads, keys, width


def free_bytes():
    """Free bytes of the GPU, else of this process."""
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else paths.free_memory()


def count_operations(size, p, length):
    """Floating-point operations of training on one token, in sequences of `length`.

    Each weight takes two forward, two for its input's gradient, two more if it is trained, and two for the repeated forward
    pass of activation checkpointing. A token attends to half of the sequence on average. Adapters are left out (below 1 %).
    """
    hidden, _, layers, heads, _, width = _read_shape(size.config)
    again, attention_scores = int(p.activation_checkpointing), 2 * length * width * heads * layers
    head = size.config.vocab_size * hidden * (2 if p.trainable in FROZEN_ROWS else 3)
    return 2 * size.layers * (2 + again + (p.trainable == "full")) + attention_scores * (3 + again) + 2 * head
