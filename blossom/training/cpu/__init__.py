"""A Llama decoder's forward and backward passes for training adapters on CPU."""
