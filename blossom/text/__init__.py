"""Text: read, cleaned, split."""
