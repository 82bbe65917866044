"""What produced a file: versions of the packages, commit of this repository.

In: names of packages. Out: values for the files' own records.
"""

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path


def software_versions(*packages):
    """Returns the version of Python and of each installed package, a dict by name."""
    versions = {name: metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **versions}


@functools.cache
def source_commit():
    """Returns the commit of this checkout, with "-dirty" after local changes, or "unknown"."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()
