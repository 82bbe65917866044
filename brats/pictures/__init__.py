"""Pictures: overlays, learning curves, box plots.

In: images, classes, tables. Out: PNG files.
Open `overlays.py` first.
"""
