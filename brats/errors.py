"""Errors that a user can fix, and how they are told.

In: what went wrong. Out: an exception whose message says what happened and what to do.
"""

import lzma
import zipfile
import zlib
from dataclasses import dataclass

# What h5py raises for a damaged file. Reference: h5py, `h5py/_errors.pyx`.
HDF5_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError)
# What zipfile raises for a damaged archive or another file, and what h5py and NumPy raise
# for its contents.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, *HDF5_ERRORS)


@dataclass(frozen=True)
class Failed:
    """A case that failed, while the others continue.

    Attributes:
        case_id: Id of the case.
        reason: What happened, one sentence or more.
    """

    case_id: str
    reason: str


class InputError(ValueError):
    """A wrong input: a case, a file or a setting, and not a defect of the program.

    The message says what happened, what was expected and what to do.
    """


def shortened(value, most=300):
    """Returns a value as text for a message, cut to `most` characters."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def describe_error(error):
    """Returns an error of the system as a sentence; one of ours is one already."""
    if isinstance(error, MemoryError):
        reason = f"{error}".rstrip(".")
        return f"Out of memory. {reason}. Use less at once: fewer workers, smaller batches."
    if isinstance(error, OSError) and error.strerror:
        path = error.filename or "a file without a name, such as the standard output"
        return f"Cannot use {path}: {error.strerror}. Check the path and its permissions."
    return str(error)
