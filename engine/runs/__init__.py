"""The run folder: its files, its state, its log.

In: a network in training. Out: the files that `--resume` and prediction start from.
Open `folder.py` first.
"""
