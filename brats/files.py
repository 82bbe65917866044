"""Files that are complete or absent.

In: the final path of a file. Out: a temporary path to write to, renamed once it is whole.
"""

import contextlib
import csv
import json
import os
import platform
from pathlib import Path

from brats.errors import InputError

WRITING = ".writing-{process}-{name}"  # Of a file that a process is writing.


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`, and renames it to `path` if the block succeeds.

    The folder of `path` is made if it does not exist. If the block raises, the temporary file
    is removed and what stood under `path` before is untouched.

    Args:
        path: Final path, str or `Path`.

    Yields:
        A `Path` in the same folder, with the same suffixes as `path`.

    Raises:
        OSError: If the folder cannot be made, or the system refuses to write; names the path.
    """
    path = Path(path)
    make_writable_folder(path.parent)
    # Processes of several machines may write to one folder.
    process = f"{platform.node()}-{os.getpid()}"
    temporary = path.with_name(WRITING.format(process=process, name=path.name))
    try:
        with naming(path, temporary):
            yield temporary
            temporary.replace(path)
    finally:
        # On a disk that has become read-only, the error that says so is under way.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path, *temporary):
    """Names the final path in an error of the system that a temporary file met with.

    Args:
        path: Final path.
        *temporary: Paths that are written to instead.

    Raises:
        OSError: With a sentence that names `path`.
    """
    try:
        yield
    except OSError as error:
        # Without a number it is one of ours, with a sentence of its own.
        if error.errno is None or error.filename and Path(error.filename) not in temporary:
            raise
        raise OSError(f"Cannot write {path}: {os.strerror(error.errno)}.") from error


def make_writable_folder(folder):
    """Makes a folder where there is none.

    Args:
        folder: A `Path`.

    Raises:
        OSError: If it cannot be made, or written to; names the folder.
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
    """Checks that what is written to a folder is not found when another is looked through.

    Args:
        name: What the folder is called, such as its flag.
        folder: Path of the folder.
        root_name: What the other is called.
        root: Path of the other.

    Raises:
        InputError: If the folder is the other one, or lies in it; names both.
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
        ValueError: If it is not JSON, or nested more deeply than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def write_table(path, rows):
    """Writes dicts as CSV: a header of all their keys, then one line per dict.

    What a dict lacks is left empty, as in a run that an earlier version began.

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
        InputError: If there is something else than a table; names it.
    """
    if not Path(path).exists():
        return []
    if not Path(path).is_file():  # A pipe would be waited for.
        raise InputError(f"{path} is not a file. Remove it.")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # With or without a mark.
            return list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read {path} as a table: {error}. Repair or remove it.") from error
