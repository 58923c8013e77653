"""Train a model on token sequences with labels: continued pretraining and instruction tuning alike."""
