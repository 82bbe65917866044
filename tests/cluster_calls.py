"""What tests have workers do: functions that workers import, and that note that they were called.

In: the path of a file. Out: a line in it for every call.
"""

import os
import signal
import time

from brats.errors import InputError


def note(path):
    """Notes a call, and returns the name of the file."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return path.name


def fail(path):
    """Notes a call, and fails as a damaged case does."""
    note(path)
    raise InputError("torn")


def break_down(path):
    """Notes a call, and fails as a defect of the program does."""
    note(path)
    raise ZeroDivisionError("a defect")


def die(path):
    """Notes a call, and kills the worker, once what others did there has come back."""
    note(path)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def act(path):
    """Does what the name of the file says."""
    return {"fail": fail, "break": break_down, "die": die}.get(path.stem, note)(path)


def describe_nothing():
    """Returns no facts that workers have to share."""
    return {}
