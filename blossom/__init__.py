"""Teach an English-centric language model a new language, and measure what it costs in English."""

__version__ = "0.1.0"
