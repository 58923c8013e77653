"""Tokenizers: how they spell, how new pieces are merged, how their rows start."""
