"""One process at a time in a folder or a file, by locks that end with their process.

In: an open file, or a folder. Out: a lock, or an error that says that another process has it. The
system gives a lock back however its process ends, so that none is ever left.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from brats.errors import InputError
from brats.files import PARTIAL, make_writable_folder

# What file systems answer that have no locks, or, over a network, none for folders.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL)


@contextlib.contextmanager
def owning(folder):
    """Keeps other processes out of a folder, and removes what killed ones were writing to it.

    Where the file system has no locks, neither is done.

    Args:
        folder: Path of a folder, made if it does not exist.

    Raises:
        OSError: If it cannot be made, or written to; names the folder.
        InputError: If another process owns the folder.
    """
    make_writable_folder(Path(folder))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if take_lock(descriptor, folder):
            for path in Path(folder).rglob(PARTIAL.format(process="[0-9]*", name="*")):
                path.unlink()
        yield
    finally:
        os.close(descriptor)


def take_lock(file, path):
    """Locks a file for this process alone, until it is closed.

    Args:
        file: An open file, or its descriptor.
        path: What it is told as.

    Returns:
        Whether it is locked: False where the file system has no locks.

    Raises:
        InputError: If another process has the lock; names the path.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise is_taken(path) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def is_taken(path):
    """Returns the error of a path that another process writes to."""
    return InputError(
        f"{path} is being written by another process. Wait for it, or give another one."
    )
