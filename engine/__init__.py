"""The Keras side: training, devices, run folders, networks and prediction.

In: patches, networks and cases. Out: trained networks, and classes of a case.
Open `training/epochs.py` first. Importing `engine` fails with one sentence if Keras cannot start.
"""

import os
import sys
from importlib.util import find_spec

# The file of requirements of each backend.
BACKENDS = {
    "tensorflow": "requirements.txt",
    "jax": "requirements/jax.txt",
    "torch": "requirements/torch.txt",
    "openvino": "requirements/openvino.txt",
}


class BackendError(ImportError):
    """Keras cannot start with the backend that KERAS_BACKEND names."""


def print_in_one_line(kind, error, traceback):
    """Prints a `BackendError` without its traceback, and others as Python does."""
    if kind is BackendError:
        print(f"Error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


try:
    import keras  # noqa: F401
except (ModuleNotFoundError, ValueError) as error:
    # Scripts import `engine` before their `main` could catch this.
    sys.excepthook = print_in_one_line
    backend = os.environ.get("KERAS_BACKEND")
    if isinstance(error, ValueError):
        raise BackendError(
            f"KERAS_BACKEND is {backend}; expected one of {', '.join(BACKENDS)}."
        ) from error
    installed = [name for name in BACKENDS if name != backend and find_spec(name)]
    raise BackendError(
        f"KERAS_BACKEND is {backend or 'not set'}, and the package {error.name} is not installed. "
        f"Run `pip install -r {BACKENDS[backend or 'tensorflow']}`, or set KERAS_BACKEND to "
        f"another one (installed: {', '.join(installed) or 'none'})."
    ) from error
