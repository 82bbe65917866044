"""Training: batches, epochs, learning rates.

In: patches and a compiled network. Out: one row of the history per epoch.
Open `epochs.py` first.
"""
