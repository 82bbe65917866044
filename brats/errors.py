"""Errors that a user can mend, told in one message, interruptions, and exit codes of the scripts.

In: a script's `main`. Out: an exit code, and at most one message on stderr.
"""

import contextlib
import lzma
import signal
import sys
import zipfile
import zlib
from dataclasses import dataclass

# What h5py raises over a damaged file: it turns the kinds of HDF5's errors into these.
# Reference: h5py, `h5py/_errors.pyx`.
HDF5_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError)
# What zipfile raises over a damaged archive, or one of another method or with a password, and what
# h5py and NumPy raise over what lies in it.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, *HDF5_ERRORS)


@dataclass(frozen=True)
class Failed:
    """A case that could not be done, while the others go on.

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
    """Returns a value of a file as text for a message, cut to `most` characters."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def exit_code(main, advice="Start it again."):
    """Runs a script's `main` and returns the exit code that tells how it ended.

    An `InputError`, `OSError` or `MemoryError` becomes one message on stderr; any other exception
    is a defect of the program and keeps its traceback. SIGTERM, which batch systems send, ends the
    script as Ctrl-C does.

    Args:
        main: Callable without arguments.
        advice: How to go on after an interruption that does not say so itself.

    Returns:
        0 if `main` returned, 1 after an error of the data or the machine, 130 after an
        interruption.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except (InputError, OSError, MemoryError) as error:
        print(f"Error: {describe_error(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        print(f"Interrupted. {str(interruption) or advice}", file=sys.stderr)
        return 130
    return 0


def end_with_code(main, advice="Start it again."):
    """Runs a script's `main` and ends the process, see `exit_code`.

    Signals that come after the work are ignored: Python would be interrupted in tidying up.

    Raises:
        SystemExit: With the exit code.
    """
    code = exit_code(main, advice)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(code)


def describe_error(error):
    """Returns an error of the system as a sentence; one of ours is one already."""
    if isinstance(error, MemoryError):
        reason = f"{error}".rstrip(".")
        return f"Out of memory. {reason}. Ask for less at once: fewer workers, smaller batches."
    if isinstance(error, OSError) and error.strerror:
        path = error.filename or "a file without a name, such as the standard output"
        return f"Cannot use {path}: {error.strerror}. Check the path and its permissions."
    return str(error)


@contextlib.contextmanager
def deferring_interruption(second_ends=True):
    """Defers SIGINT and SIGTERM, so that the block can end where nothing is half done.

    Args:
        second_ends: Whether a second signal raises `KeyboardInterrupt` at once; if not, it is
            deferred as well, for work that is soon where it can end.

    Yields:
        Function without arguments that returns whether a signal came.
    """
    received = []

    def note(number, frame):
        if received and second_ends:
            signal.default_int_handler(number, frame)
        received.append(number)

    signals = (signal.SIGINT, signal.SIGTERM)
    handlers = {each: signal.signal(each, note) for each in signals}
    try:
        yield lambda: bool(received)
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
