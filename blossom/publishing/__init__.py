"""Publishing a model: licences, model card, GGUF, the hub.

licences.py   what a model was made of, and what the licences of that require
card.py       the model card, from manifests and metrics
gguf_file.py  the model as one GGUF file, loaded back and compared
hub.py        the plan of a push, and the push
__main__.py   python -m blossom.publishing RUN --to OWNER/NAME [--dry-run] [--gguf F16]
"""
