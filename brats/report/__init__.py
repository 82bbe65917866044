"""What is derived from the records: tables, box plots, and the report with its viewer.

In: a folder of predictions and its cases. Out: CSV files, and an HTML file that needs no network.
Open `derived.py` first.
"""
