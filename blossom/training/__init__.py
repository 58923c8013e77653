"""Train a model on token sequences with labels: continued pretraining and instruction tuning alike.

settings.py     the settings of a training, checked
pretraining.py  what stage 03 trains, and on what
packing.py      tokenized text as blocks of equal length, mixed by tokens
data.py         the order of the rows; batches
learner.py      the model as the loop sees it: a batch in, the loss out
tables.py       embedding tables of which some rows are trained; cross-entropy in tiles
loop.py         the training loop
progress.py     what a training has measured so far, and its lines
checkpoints.py  the state of a training on disk; saving the trained model
new_rows.py     what training did to new embedding rows
cpu/            fast forward and backward passes on CPU
"""
