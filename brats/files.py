"""Files that are complete or absent, and tables and JSON in such files.

In: the final path of a file. Out: a temporary path to write to, which is renamed to the final one.
"""

import contextlib
import csv
import errno
import json
import os
import platform
import time
from pathlib import Path

from brats.errors import InputError, describe_number

WRITING = ".writing-{host}-{process}-{name}"  # Name of a file that a process is writing.
FORMULA = tuple("=+-@\t\r")  # First letters of formulas. Reference: OWASP, "CSV Injection".
ABANDONED_S = 24 * 3600  # Age of a file of another host that counts as abandoned.


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path, and renames it to `path` if the block succeeds.

    The data is flushed to the disk before the file is renamed, so a file under its final name is
    complete even after a power cut. If the block raises, an older file at `path` stays as it was.

    Args:
        path: Final path, str or `Path`. Its folder is made if it does not exist.

    Yields:
        A `Path` in the same folder, with the same suffixes as `path`.

    Raises:
        OSError: If the folder cannot be made, or the file cannot be written. The message names it.
    """
    path = Path(path)
    make_writable_folder(path.parent)
    temporary = path.with_name(WRITING.format(host=_host(), process=os.getpid(), name=path.name))
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # Our own errors have no number, a broken pipe is no file, and an error about another file
        # names that file already.
        is_other = error.filename and Path(error.filename) != temporary
        if is_other or error.errno in (None, errno.EPIPE):
            raise
        raise OSError(f"Cannot write {path}: {describe_number(error.errno)}") from error
    finally:
        # If the disk became read-only, that error is already propagating; do not hide it.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def prepare_folder(folder, *subfolders):
    """Makes an output folder, and removes files that killed processes were writing to it.

    Args:
        folder: Path of the folder, str or `Path`.
        *subfolders: Names of folders in it to clean, if they exist.

    Raises:
        OSError: If the folder cannot be made, or written to. The message names it.
    """
    make_writable_folder(Path(folder))
    remove_abandoned(folder, *(Path(folder, name) for name in subfolders))


def remove_abandoned(*folders):
    """Removes files that killed processes were writing to some folders, if they exist."""
    for folder in folders:
        for path in Path(folder).glob(WRITING.format(host="*", process="*", name="*")):
            with contextlib.suppress(OSError):
                if _is_abandoned(path):
                    path.unlink()


def _host():
    return platform.node().replace("-", "_")  # Hyphens separate the parts of `WRITING`.


def _is_abandoned(path):
    _, host, process, _ = path.name.split("-", 3)
    if host != _host() or not process.isdigit():
        return time.time() - path.stat().st_mtime > ABANDONED_S
    try:
        os.kill(int(process), 0)  # Signal 0 only asks whether the process exists.
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(process) == os.getpid()


def make_writable_folder(folder):
    """Makes a folder, a `Path`. Raises an `OSError` if it cannot be made, or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"Cannot make the folder {folder}: {error.strerror}. Choose another one."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"The folder {folder} is not writable. Choose another one.")


def check_outside(name, folder, root_name, root):
    """Checks that an output folder is not inside the folder of the cases.

    Args:
        name: Flag of the output folder.
        folder: Path of the output folder.
        root_name: Flag of the folder of the cases.
        root: Path of the folder of the cases.

    Raises:
        InputError: If the output folder is the other folder, or inside it. The message names both.
    """
    if Path(folder).resolve().is_relative_to(Path(root).resolve()):
        raise InputError(
            f"{name} {folder} lies in {root_name} {root}, where it would be taken for a case. "
            "Give a folder outside of it."
        )


def write_json(path, value):
    """Writes a value as indented JSON. Raises an `OSError` if the file cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def parse_json(text):
    """Returns the value of JSON, str or bytes. Raises a `ValueError` if the text is not JSON."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_table(path, rows):
    """Writes dicts as CSV with all their keys. Raises an `OSError` if it cannot be written.

    Text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    rows = [{key: _no_formula(value) for key, value in row.items()} for row in rows]
    text = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}
    with replacing(path) as temporary, open(temporary, "w", **text) as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def _no_formula(value):
    return f"'{value}" if isinstance(value, str) and value[:1] in FORMULA else value


def read_table(path):
    """Reads CSV into a list of dicts of text. If the file does not exist, the list is empty.

    Raises:
        InputError: If the file is not a table. The message names it.
    """
    if not Path(path).exists():
        return []
    if not Path(path).is_file():
        raise InputError(f"{path} is not a file. Remove it.")
    try:
        # Excel writes a byte order mark.
        with open(path, newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read {path} as a table: {error}. Repair or remove it.") from error
