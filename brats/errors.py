"""Errors that a user can fix, and their messages.

In: an error. Out: a message that says what happened and what to do.
"""

import errno
import lzma
import os
import zipfile
import zlib
from dataclasses import dataclass

# What h5py raises for a damaged file. Reference: h5py, `h5py/_errors.pyx`.
HDF5_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError)
# What zipfile raises for a damaged archive, and h5py and NumPy for damaged contents.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, *HDF5_ERRORS)

# What to do about errors of the system that are not about the path or its permissions.
REMEDIES = {
    errno.ENOSPC: "Free space on the disk.",
    errno.EDQUOT: "Free space on the disk.",
    errno.EROFS: "Choose another folder.",
    errno.EIO: "Check the disk.",
    errno.EMFILE: "Allow more, such as with ulimit -n 4096.",
    errno.ENAMETOOLONG: "Give it a shorter name.",
}


@dataclass(frozen=True)
class Failed:
    """A case that failed. The other cases continue.

    Attributes:
        case_id: Id of the case.
        reason: Message of the error.
    """

    case_id: str
    reason: str


class InputError(ValueError):
    """An error in a case, a file or a setting, which the user can fix.

    The message says what happened, what was expected and what to do.
    """


def shortened(value, most=300):
    """Returns a value as text of at most `most` characters, for a message."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def printable(value):
    """Returns a value as text with control characters, and bytes that are not UTF-8, escaped."""
    text = str(value)
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def describe_number(number):
    """Returns what an error number of the system means, and what to do."""
    return f"{os.strerror(number)}. {REMEDIES.get(number, 'Check the path and its permissions.')}"


def describe_error(error):
    """Returns the message of an error. An error of the system gets a path and a remedy."""
    if isinstance(error, MemoryError):
        reason = f": {error}".rstrip(".: ")
        return f"Out of memory{reason}. Give fewer --workers or a smaller --batch-size."
    if isinstance(error, OSError) and error.errno:
        path = error.filename or "a file without a name, such as stdout"
        return f"Cannot use {path}: {describe_number(error.errno)}"
    return str(error)
