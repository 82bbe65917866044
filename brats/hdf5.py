"""HDF5 files that others wrote, opened to be read.

In: a path. Out: an open file, or an error that says why there is none.
"""

import contextlib
import os
from pathlib import Path

import h5py

from brats.errors import HDF5_ERRORS, InputError, shortened


@contextlib.contextmanager
def open_hdf5(path):
    """Opens an HDF5 file for reading, and names it in what h5py raises while the block reads it.

    Args:
        path: Path of a file.

    Yields:
        The `h5py.File`.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it cannot be read, is being written to, or is no whole HDF5 file.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (InputError, FileNotFoundError):
        raise
    except BlockingIOError as error:
        raise InputError(
            f"{path} is open for writing in another program. Wait until that has ended."
        ) from error
    except HDF5_ERRORS as error:
        if isinstance(error, OSError) and error.errno:
            raise InputError(
                f"Cannot read {path}: {os.strerror(error.errno)}. Check the file and its "
                "permissions."
            ) from error
        if "signature not found" in str(error):
            found = "not an HDF5 file" if Path(path).stat().st_size else "empty"
            raise InputError(f"{path} is {found}. Give another, or copy it again.") from error
        # HDF5 says it in parentheses, after what it was about to do.
        reason = shortened(str(error).partition("(")[2].rstrip(")") or error)
        raise InputError(f"{path} is a damaged HDF5 file: {reason}. Copy it again.") from error
