"""What Snakemake asks: which runs there are, and what they take.

plan.py       the runs, what each one reads, which are the same; sweeps
estimate.py   parameters, memory and time of a training, from the model's shape
resources.py  what a cluster is asked for, and the table of `snakemake -n`
"""
