"""The Keras side: training, devices, run folders, networks and prediction.

In: patches, networks and cases. Out: trained networks, and classes of a case.
Open `training/epochs.py` first. Importing `engine` raises an `InputError` if Keras cannot start.
"""

import os
from importlib.util import find_spec

from brats.errors import InputError

# The file of requirements of each backend.
BACKENDS = {
    "tensorflow": "requirements.txt",
    "jax": "requirements/jax.txt",
    "torch": "requirements/torch.txt",
    "openvino": "requirements/openvino.txt",
}

try:
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
