"""Opening HDF5 files for reading.

In: a path. Out: an open file, or an error that says why it cannot be read.
"""

import contextlib
import os
from pathlib import Path

import h5py

from brats.errors import HDF5_ERRORS, InputError, shortened


@contextlib.contextmanager
def open_hdf5(path):
    """Opens an HDF5 file for reading. Errors of h5py in the block become errors with the path.

    Args:
        path: Path of a file.

    Yields:
        The `h5py.File`.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the path is not a regular file, or the file cannot be read or is damaged.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"There is no file {path}. Check the path.")
    if not Path(path).is_file():  # HDF5 would wait for a pipe forever.
        raise InputError(f"{path} is not a regular file; expected an HDF5 file. Give another.")
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except InputError:
        raise
    except HDF5_ERRORS as error:
        if isinstance(error, OSError) and error.errno:
            raise InputError(
                f"Cannot read {path}: {os.strerror(error.errno)}. Check the file and its "
                "permissions."
            ) from error
        if "signature not found" in str(error):
            found = "not an HDF5 file" if Path(path).stat().st_size else "empty"
            raise InputError(f"{path} is {found}. Give another, or copy it again.") from error
        # HDF5 gives the reason in parentheses.
        reason = shortened(str(error).partition("(")[2].rstrip(")") or error)
        raise InputError(f"{path} is a damaged HDF5 file: {reason}. Copy it again.") from error
