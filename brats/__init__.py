"""The data: cases, volumes, patches, scores, pictures and reports, without Keras.

In: NIfTI files of cases. Out: patches, records, tables, pictures and reports.
Open `editions.py` first: it has the facts of the data sets.
"""
