"""From a NIfTI file to what the network sees, and back.

In: the files of a `Case`. Out: raw volumes, normalized channels, label volumes on disk.
Open `case.py` first.
"""
