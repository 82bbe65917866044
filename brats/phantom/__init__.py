"""A synthetic cohort, to try all commands without real patients.

In: a number of cases and a seed. Out: case folders in the layout of any edition.
Open `cohort.py` first.
"""
