"""Instruction sets: templates, labels, cleaning, translation and review; stage 04.

templates.py    prompt templates; a conversation as tokens and labels
readers.py      instruction sets, conversation by conversation
hygiene.py      which examples may not be trained on
dataset.py      from sets to training and held-out rows
drafts.py       English conversations beside their Korean drafts
translation.py  English examples to Korean drafts, each reply stored
checks.py       hints for the reviewers of a draft
review.py       the reviewers' page
merging.py      several reviewers' files as one data set
changes.py      what the reviewers changed
"""
