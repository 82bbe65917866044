"""Records the input files of an output, and finds out later which of them have changed.

In: a case. Out: size, time and SHA-256 of each of its files, and the names of changed files.
"""

import hashlib

from brats.errors import InputError


def describe_inputs(case):
    """Describes the files of a case.

    Args:
        case: A `Case`.

    Returns:
        Dict from the `input_name` of each file to a dict of "size" in bytes, "time" of the last
        change in nanoseconds, and "sha256".

    Raises:
        InputError: If a file cannot be read. The message names it.
    """
    return {name: _state(path) | {"sha256": digest(path)} for name, path in _files(case).items()}


def find_changes(case, before):
    """Finds the files of a case that have changed.

    A file of the same size and time counts as unchanged. Otherwise its content decides.

    Args:
        case: A `Case`.
        before: What `describe_inputs` returned before.

    Returns:
        List of the names of files that were added, removed or changed.

    Raises:
        InputError: If a file cannot be read. The message names it.
    """
    files = _files(case)
    changed = [name for name in before if name not in files]
    for name, path in files.items():
        then = before.get(name, {})
        now = _state(path)
        is_same = now == {key: then.get(key) for key in now}
        if not is_same and digest(path) != then.get("sha256"):
            changed.append(name)
    return changed


def input_name(path):
    """Returns the name of an input file with its folder, so that the data folder may move."""
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


def digest(path):
    """Returns the SHA-256 of a file in hexadecimal; raises as `describe_inputs`."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path, error):
    return InputError(f"Cannot read {path}: {error.strerror}. Check the file and its permissions.")
