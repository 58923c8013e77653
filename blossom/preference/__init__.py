"""Pairs of answers compared by people and by judging models, and the statistics of their verdicts; stage 06."""
