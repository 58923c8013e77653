"""Figure 1's red over red and blue by arithmetic, for models too large to make: which rank gives the paper's 5.977 %?"""

WIDE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def share(config, rank, targets=WIDE[:3], tables=2):
    """Trained over all parameters of a Llama-like model without biases whose embeddings are not tied.

    config   with hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, vocab_size
    targets  projections with adapters of `rank`;  tables  embedding tables trained whole (0, 1 or 2)
    """
    d, inner = config.hidden_size, config.intermediate_size
    narrow = d // config.num_attention_heads * config.num_key_value_heads
    sizes = dict(zip(WIDE, [(d, d), (d, narrow), (d, narrow), (d, d), (d, inner), (d, inner), (inner, d)], strict=True))
    adapters = config.num_hidden_layers * sum(rank * sum(sizes[name]) for name in targets)
    layers = config.num_hidden_layers * (sum(a * b for a, b in sizes.values()) + 2 * d) + d  # with the norms
    table = config.vocab_size * d
    return (tables * table + adapters) / (2 * table + layers + adapters)
