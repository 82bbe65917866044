"""Which software made a file: versions of packages, and the commit of this repository.

In: names of packages. Out: text that the scripts write into their files.
"""

import functools
import platform
import subprocess
from pathlib import Path

VERSION = "1.0.0"


def software_versions(*packages):
    """Returns a dict from "python" and the names of packages to their versions."""
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def describe_source(*packages):
    """Returns a dict of the versions of Python and some packages, and of the commit."""
    return {"versions": software_versions(*packages), "commit": source_commit()}


def describe_version():
    """Returns the version of this program and the commit of the checkout, as text."""
    return f"{VERSION} (commit {source_commit()})"


@functools.cache
def source_commit():
    """Returns the commit of this checkout, or "unknown". Local changes add "-dirty"."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()


def _version(name):
    from importlib import metadata  # Here, as it takes long and `--help` does not need it.

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # Such as TensorFlow, installed as tensorflow-cpu.
        return "unknown"
