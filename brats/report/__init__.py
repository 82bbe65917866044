"""The report: report.html and its viewer.

In: a folder of predictions and its cases. Out: one HTML file that opens without a network.
Open `page.py` first.
"""
