"""Text: read, normalised, split into training and held-out lines.

rows.py      lines and rows of files and hub sets
hub.py       data sets of the Hugging Face hub
language.py  the language a text is in
leaks.py     duplicates, and training text that repeats evaluation text
corpus.py    the texts of a run
"""
