"""What Snakemake asks: which runs there are, and what they take."""
