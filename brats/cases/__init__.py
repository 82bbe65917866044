"""Which cases there are, and whether they can be used.

In: a data folder. Out: complete cases, a reason for each other one, a split, a check of all voxels.
Open `find.py` first.
"""
