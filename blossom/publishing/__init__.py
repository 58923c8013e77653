"""Publishing a model: licences, model card, GGUF, the hub."""
