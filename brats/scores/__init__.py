"""Scores of a segmentation against a reference.

In: two class volumes. Out: overlap, distances, lesion-wise scores, and tables of them.
Open `tables.py` first.
"""
