"""Pairs of answers, verdicts of people and of models, and what they add up to.

prompts.py     the prompts that models answer
measures.py    what can be counted in an answer without a judge
examples.py    answers side by side in a notebook
people.py      pairs for people to judge, and the page that each rater gets
ratings.py     what raters send back, checked and merged
verdicts.py    the table of verdicts, of people and judges alike
statistics.py  win rates with intervals, Bradley-Terry, length and position
agreement.py   do people, judges, and a person with themselves agree?
judges.py      models as judges over an OpenAI-compatible server
"""
