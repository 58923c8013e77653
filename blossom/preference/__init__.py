"""Pairs of answers, the verdicts of people and of judging models, and what they add up to; stage 06.

prompts.py     the prompts that models answer
measures.py    what can be counted in an answer without a judge
examples.py    answers side by side in a notebook
people.py      pairs for people to judge, and each rater's page (rate.html, rate.css, rate.js)
ratings.py     the files that raters send back, checked and merged
judges.py      models as judges over an OpenAI-compatible server
verdicts.py    the table of verdicts, of people and judges alike
statistics.py  win rates with intervals, position bias
agreement.py   agreement of people, judges, and a person with themselves
panels.py      figures 2 to 5 of the paper
"""
