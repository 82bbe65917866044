"""What tests have workers do: functions that workers import, and that note that they were called.

In: the path of a file. Out: a line in it for every call.
"""

import os
import signal
import time

from brats.errors import InputError


def act(path):
    """Notes a call and does what the name of the file says; returns the name."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    if path.stem == "fail":  # As a damaged case does.
        raise InputError(f"{path} is torn.")
    if path.stem == "break":  # As a defect of the program does.
        raise ZeroDivisionError("a defect")
    if path.stem == "die":
        time.sleep(0.5)  # Until results of others have come back.
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name
