"""The data: cases, volumes, patches, scores, pictures. Nothing here imports Keras.

The folders follow the way of the data; `editions.py` holds the facts of the data sets.
"""
