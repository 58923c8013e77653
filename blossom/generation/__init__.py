"""Answers of language models to prompts, with the paper's sampling, seeded and stored."""
