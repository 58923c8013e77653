"""Instruction sets: templates, labels, cleaning, translation and review; stage 04."""
