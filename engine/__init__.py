"""The Keras side: training, devices, run folders, networks and prediction.

In: patches, networks and cases. Out: trained networks, and classes of a case.
Open `training/epochs.py` first. Importing `engine` raises an `InputError` if Keras cannot start.
"""

import contextlib
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from brats.errors import InputError

# The file of requirements of each backend.
BACKENDS = {
    "tensorflow": "requirements.txt",
    "jax": "requirements/jax.txt",
    "torch": "requirements/torch.txt",
    "openvino": "requirements/openvino.txt",
}

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
DRIVER = Path("/proc/driver/nvidia")
# Lines of TensorFlow's C++ code that inform, and the line that announces them.
LOG_LINES = "^(I[0-9]{4} [0-9:.]+ |WARNING: All log messages before absl::InitializeLog)"


@contextlib.contextmanager
def leaving_out_log_lines():
    """Leaves out what TensorFlow logs while its libraries are loaded, unless the level is 0.

    They log as soon as the system loads them, before they read the level of the log. Another
    process filters what is written to stderr meanwhile, so an error is printed even if it ends
    this process.
    """
    # Without a driver, the search for a GPU is logged as an error.
    level = os.environ.setdefault(LOG_LEVEL, "2" if DRIVER.exists() else "3")
    if level == "0" or sys.stderr is None:
        yield
        return
    stderr = os.dup(2)
    command = ["grep", "-Ev", LOG_LINES]
    options = {"stdin": subprocess.PIPE, "stdout": 2, "start_new_session": True}  # No Ctrl-C.
    with subprocess.Popen(command, **options) as lines:
        try:
            os.dup2(lines.stdin.fileno(), 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


try:
    with leaving_out_log_lines():
        import keras  # noqa: F401
except (ModuleNotFoundError, ValueError) as error:
    backend = os.environ.get("KERAS_BACKEND")
    if isinstance(error, ValueError):
        raise InputError(
            f"KERAS_BACKEND is {backend}; expected one of {', '.join(BACKENDS)}."
        ) from error
    installed = [name for name in BACKENDS if name != backend and find_spec(name)]
    raise InputError(
        f"KERAS_BACKEND is {backend or 'not set'}, and the package {error.name} is not installed. "
        f"Run `pip install -r {BACKENDS[backend or 'tensorflow']}`, or set KERAS_BACKEND to "
        f"another one (installed: {', '.join(installed) or 'none'})."
    ) from error
