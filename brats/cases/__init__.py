"""Which cases are there, and can they be used.

In: a data folder. Out: `Case` records, complete and sorted; a split by patient; a check of every voxel.
Open `find.py` first.
"""
