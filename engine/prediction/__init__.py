"""From a normalized case to its classes.

In: networks and cases. Out: class volumes, and what `brats.predictions` writes of them.
Open `segment.py` first.
"""
