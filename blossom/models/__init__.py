"""Load, check, resize, adapt, merge and save models; measure them in bits per byte.

loading.py   device and precision, loading, resizing, saving
adapters.py  choose the trained parameters; merge adapters into the weights and compare after reloading
bits.py      bits per byte; the tokens a document starts and ends with
"""
