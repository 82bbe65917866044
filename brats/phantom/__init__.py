"""A synthetic cohort, to try all commands without real patients.

In: a number of cases and a seed. Out: case folders as in BraTS 2017, 2021 or 2023.
Open `cohort.py` first.
"""
