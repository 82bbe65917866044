"""What the network runs on: one device, several, several hosts.

In: what the user asked for and what the backend sees. Out: an object that trains and evaluates.
Open `choose.py` first.
"""
