"""The images of each case in a file of its own, which the report loads when the case is opened.

In: a case, and its segmentation in a folder of predictions. Out: `report/<case>.js` in that folder.
Its first line, a comment, holds what the page shows of the case; the rest is its volumes.
"""

import base64
import hashlib
import json
from pathlib import Path

from brats.errors import InputError
from brats.files import parse_json, replacing
from brats.inputs import digest
from brats.predictions.record import segmentation_path
from brats.report.images import read_case_images

FOLDER, SUFFIX = "report", ".js"
VERSION = 1  # Of the content of these files. Those of another version are made again.


def update_case_file(output, case, labels=()):
    """Writes the file of a case, unless it is up to date; returns the dict in its first line.

    `labels` are the values of `--segmentation-labels`. Raises an `InputError` if a file of the case
    cannot be used.
    """
    path = Path(output, FOLDER, f"{case.id}{SUFFIX}")
    state, head = _state(output, case, labels), _read_head(path)
    if head.get("state") == state:
        return head
    images = read_case_images(output, case, labels)
    volumes = {name: _base64(content) for name, content in images.volumes.items()}
    head = {"state": state, "thumbnail": _base64(images.thumbnail)}
    head |= {"first": images.first, "start": images.start}
    with replacing(path) as temporary:
        temporary.write_text(f"// {json.dumps(head)}\nreceiveVolumes({json.dumps(volumes)});\n")
    return head


def _state(output, case, labels):
    """Returns a digest that changes if a file of a case, or what its labels mean, changes."""
    paths = [*case.images.values(), case.segmentation]
    try:
        status = [(str(path.name), path.stat()) for path in filter(None, paths)]
    except OSError as error:
        raise InputError(f"Cannot read {error.filename}: {error.strerror}.") from error
    files = [(name, each.st_size, each.st_mtime_ns) for name, each in status]
    predicted = digest(segmentation_path(output, case))
    facts = VERSION, case.edition, *labels, files, predicted
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _read_head(path):
    """Returns the dict in the first line of a case's file; empty if it is another file or none."""
    try:
        with open(path, encoding="ascii") as file:
            head = parse_json(file.readline().removeprefix("//"))
    except (OSError, ValueError):
        return {}
    return head if isinstance(head, dict) and "state" in head else {}


def _base64(content):
    return base64.b64encode(content).decode("ascii")
