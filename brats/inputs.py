"""The input files that an output was made of, so that a changed input is noticed.

In: a case. Out: size, time and SHA-256 of each of its files, and which of them have changed.
"""

import hashlib

from brats.errors import InputError


def describe_inputs(case):
    """Describes the files of a case.

    Args:
        case: A `Case`.

    Returns:
        Dict from the name of each file, with its folder, to "size" in bytes, "time" of its last
        change in nanoseconds, and "sha256". Names do not depend on where the data folder lies.

    Raises:
        InputError: If a file cannot be read; names it.
    """
    return {name: _state(path) | {"sha256": _digest(path)} for name, path in _files(case).items()}


def find_changes(case, before):
    """Finds the files of a case that are not the described ones.

    Files of the same size and time count as the same; others are compared by content.

    Args:
        case: A `Case`.
        before: Dict as of `describe_inputs`.

    Returns:
        List of names, of files that are new, gone, or have another content.

    Raises:
        InputError: If a file cannot be read; names it.
    """
    files = _files(case)
    changed = [name for name in before if name not in files]
    for name, path in files.items():
        then = before.get(name, {})
        now = _state(path)
        is_same = now == {key: then.get(key) for key in now}
        if not is_same and _digest(path) != then.get("sha256"):
            changed.append(name)
    return changed


def input_name(path):
    """Returns the name of an input file: its own, and that of its folder."""
    return f"{path.parent.name}/{path.name}"


def _files(case):
    paths = [*case.images.values(), *([case.segmentation] if case.segmentation else [])]
    return {input_name(path): path for path in paths}


def _state(path):
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return {"size": status.st_size, "time": status.st_mtime_ns}


def _digest(path):
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path, error):
    return InputError(f"Cannot read {path}: {error.strerror}. Check the file and its permissions.")
