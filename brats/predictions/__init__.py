"""What a prediction leaves on disk.

In: the predicted classes of a case. Out: its label volume, record, scores and pictures.
Open `record.py` first.
"""
