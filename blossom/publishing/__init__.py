"""Giving a model away: where it comes from, whether it may be given, its card, one GGUF file, the hub.

history.py    the finished runs that made a model, their manifests checked
licences.py   what it was made of, and what their licences ask of it
card.py       the model card, from manifests and metrics alone
gguf_file.py  the model as one GGUF file, loaded back and compared
hub.py        what would be pushed, and pushing it

    python -m blossom.publishing outputs/laptop/blossom-bi-biSFT/04_korean_lima_sft --to name/model --dry-run
"""

from blossom.publishing.card import write as write_card
from blossom.publishing.gguf_file import export as export_gguf
from blossom.publishing.history import read as read_history
from blossom.publishing.hub import Plan, plan, push

__all__ = ["Plan", "export_gguf", "plan", "push", "read_history", "write_card"]
