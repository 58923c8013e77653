"""Teach an English-centric language model a new language, and prove what it cost."""

__version__ = "0.1.0"
