"""Tokenizers: loading, counting, merging new pieces into them, and the initial embedding rows of these pieces."""
