"""Models, tokenizers and texts that are fetched once, checked and cached."""
