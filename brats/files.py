"""Files that are complete or absent.

In: the final path of a file. Out: a temporary path to write to, which becomes the final one.
"""

import contextlib
import csv
import json
import os
import platform
import time
from pathlib import Path

from brats.errors import InputError

WRITING = ".writing-{host}-{process}-{name}"  # A file that a process is writing.
ABANDONED_S = 24 * 3600  # A file of another host that nobody has written to for so long.


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`, and renames it to `path` if the block succeeds.

    The data is on the disk before the file gets its name, so a power cut leaves no file that looks
    complete and is not. If the block raises, what stood under `path` before is untouched.

    Args:
        path: Final path, str or `Path`. Its folder is made if it does not exist.

    Yields:
        A `Path` in the same folder, with the same suffixes as `path`.

    Raises:
        OSError: If the folder cannot be made, or the system refuses to write; names `path`.
    """
    path = Path(path)
    make_writable_folder(path.parent)
    temporary = path.with_name(
        WRITING.format(host=platform.node(), process=os.getpid(), name=path.name)
    )
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # An error without a number is one of ours; one about another file names that file.
        if error.errno is None or error.filename and Path(error.filename) != temporary:
            raise
        raise OSError(f"Cannot write {path}: {os.strerror(error.errno)}.") from error
    finally:
        # If the disk became read-only, that error is already propagating; do not hide it.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_abandoned(*folders):
    """Removes files that killed processes were writing to; other processes keep theirs.

    Args:
        *folders: Folders to clean; one that does not exist is skipped.
    """
    for folder in folders:
        for path in Path(folder).glob(WRITING.format(host="*", process="*", name="*")):
            with contextlib.suppress(OSError):
                if _is_abandoned(path):
                    path.unlink()


def _is_abandoned(path):
    process, is_here, _ = path.name.removeprefix(f".writing-{platform.node()}-").partition("-")
    if not (is_here and process.isdigit()):
        return time.time() - path.stat().st_mtime > ABANDONED_S
    try:
        os.kill(int(process), 0)  # Signal 0 only asks whether the process exists.
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(process) == os.getpid()


def make_writable_folder(folder):
    """Makes a folder if it does not exist.

    Raises:
        OSError: If the folder cannot be made, or written to; names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"Cannot make the folder {folder}: {error.strerror}. Choose another one."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"The folder {folder} is not writable. Choose another one.")


def check_outside(name, folder, root_name, root):
    """Checks that an output folder does not lie in a folder that is searched for cases.

    Args:
        name: Flag of the output folder.
        folder: Its path.
        root_name: Flag of the folder of cases.
        root: Its path.

    Raises:
        InputError: If the output folder is the other one, or lies in it; names both.
    """
    if Path(folder).resolve().is_relative_to(Path(root).resolve()):
        raise InputError(
            f"{name} {folder} lies in {root_name} {root}, where it would be taken for a case. "
            "Give a folder outside of it."
        )


def write_json(path, value):
    """Writes a value that JSON can hold, indented.

    Raises:
        OSError: If the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def parse_json(text):
    """Returns the value of JSON text, str or bytes.

    Raises:
        ValueError: If the text is not JSON, or nested more deeply than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_table(path, rows):
    """Writes dicts as CSV: a header of all their keys, then one line per dict.

    Raises:
        OSError: If the file cannot be written.
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def read_table(path):
    """Reads a table of CSV, every value as text; an absent file has no rows.

    Raises:
        InputError: If the path is no table; names it.
    """
    if not Path(path).exists():
        return []
    if not Path(path).is_file():
        raise InputError(f"{path} is not a file. Remove it.")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # With or without a mark.
            return list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read {path} as a table: {error}. Repair or remove it.") from error
