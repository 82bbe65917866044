"""One process at a time in a folder or at a file, by locks that end with their process.

In: a path. Out: a lock, or an error that says that another process has it. The system gives a lock
back however its process ends.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from brats.errors import InputError
from brats.files import WRITING, make_writable_folder

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # Of file systems that have none.
LOCK = ".lock"  # In the folder; NFS has locks for files alone.


@contextlib.contextmanager
def owning(folder, *subfolders):
    """Keeps other processes out of a folder, and removes what killed ones were writing to it.

    Those killed before are meant, and workers that were killed in a block that succeeded. Where
    the file system has no locks, neither is done.

    Args:
        folder: Path of a folder, made if it does not exist.
        *subfolders: Names of the folders in it that its processes write to, too.

    Raises:
        OSError: If it cannot be made, or written to; names the folder.
        InputError: If another process owns the folder.
    """
    folder = Path(folder)
    make_writable_folder(folder)
    with locking(folder / LOCK, folder) as (file, is_locked):
        places = (folder, *(folder / name for name in subfolders)) if is_locked else ()
        try:
            _remove_unfinished(places)
            yield
            _remove_unfinished(places)  # Of workers that were killed meanwhile.
        finally:
            # On a disk that has become read-only, the error that says so is under way.
            with contextlib.suppress(OSError):
                Path(file.name).unlink()


def _remove_unfinished(places):
    for place in places:
        for path in place.glob(WRITING.format(process="*", name="*")):
            path.unlink(missing_ok=True)  # A worker may have finished it.


@contextlib.contextmanager
def locking(path, name):
    """Opens a file for this process alone, where the file system has locks.

    Args:
        path: Path of a file, made if it does not exist. Only who has the lock may remove it.
        name: What it is told as.

    Yields:
        `(file, is_locked)`: the file, open for reading and appending bytes without a buffer, and
        whether it is locked: False where the file system has no locks.

    Raises:
        InputError: If another process has the lock; gives the name.
    """
    with open(path, "ab+", buffering=0) as file:
        is_locked = _take_lock(file, name)
        # The process that had it may have ended and removed it since it was opened.
        if os.fstat(file.fileno()).st_nlink == 0:
            raise taken_error(name)
        yield file, is_locked


def _take_lock(file, name):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise taken_error(name) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def taken_error(name):
    """Returns the error of what another process writes to."""
    return InputError(
        f"{name} is being written by another process. Wait for it, or give another one."
    )
