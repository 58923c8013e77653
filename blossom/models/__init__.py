"""Load, check, resize, adapt, merge and save models; measure them in bits per byte."""
