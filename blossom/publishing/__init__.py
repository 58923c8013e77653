"""Publishing a model: where it comes from, whether it may be published, its card, one GGUF file, the hub.

history.py    the finished runs that made a model, their manifests checked
licences.py   what it was made of, and what their licences ask of it
card.py       the model card, from manifests and metrics alone
gguf_file.py  the model as one GGUF file, loaded back and compared
hub.py        what would be pushed, and pushing it

python -m blossom.publishing outputs/laptop/blossom-bi-biSFT/04_korean_lima_sft --to name/model --dry-run
"""
