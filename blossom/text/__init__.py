"""Text: read, normalised, split into training and held-out lines."""
