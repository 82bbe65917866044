"""From a case to its patch file, and from patch files to batches.

In: cases. Out: one HDF5 file per case; random batches out of many of them.
Open `file.py` first.
"""
