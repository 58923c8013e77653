"""Answers of language models to prompts, with the paper's sampling, seeded and stored.

answers.py  a model on this machine, or one behind a server: many prompts at once
chat.py     a conversation, written as it is generated
"""
