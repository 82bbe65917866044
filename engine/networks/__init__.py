"""Files of networks: their settings, their weights, and which network is for which case.

In: run folders or files of weights. Out: networks.
Open `choose.py` first.
"""
