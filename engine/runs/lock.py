"""One process at a time in a run folder.

In: a folder. Out: a lock, which the system releases when its process ends, or an error.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from brats.errors import InputError
from brats.files import make_writable_folder, remove_abandoned

LOCK = ".lock"  # A file in the folder, as NFS locks files only.


@contextlib.contextmanager
def owning(folder, *subfolders):
    """Keeps other processes out of a folder, and removes what killed processes were writing.

    `subfolders` are the folders in it that the run writes to, too. Raises an `InputError` if
    another process owns the folder.
    """
    folder = Path(folder)
    make_writable_folder(folder)
    path = folder / LOCK
    with open(path, "ab") as file:
        # Its owner may have removed the file after we opened it.
        if not _lock(file) or os.fstat(file.fileno()).st_nlink == 0:
            raise InputError(
                f"{folder} is being written by another process. Wait for it, or give another."
            )
        remove_abandoned(folder, *(folder / name for name in subfolders))
        try:
            yield
        finally:
            # If the disk became read-only, that error is already propagating; do not hide it.
            with contextlib.suppress(OSError):
                path.unlink()


def _lock(file):
    """Locks a file; returns False if another process has the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # The file system has no locks. It says so by any of the errors 37, 38, 95 and 524.
    return True
