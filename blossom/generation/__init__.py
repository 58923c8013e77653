"""Answers of language models to prompts, with the paper's sampling, seeded and kept on disk.

local.py   a model on this machine: many prompts at once, with random numbers of its own for each
chat.py    the same model in a conversation, written as it is made
server.py  any OpenAI-compatible server (vLLM, `transformers serve`, llama.cpp, a paid one), within a hard budget
kept.py    what was asked and answered before, so that a second run asks nothing twice
"""

from blossom.generation import chat
from blossom.generation.kept import Kept
from blossom.generation.local import Sampler, answer, answers, stop_ids
from blossom.generation.server import Server, addresses, served_answers

__all__ = ["Kept", "Sampler", "Server", "addresses", "answer", "answers", "chat", "served_answers", "stop_ids"]
