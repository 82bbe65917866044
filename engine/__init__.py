"""What train.py and predict.py run on: batches, epochs, run folders, weights, inference."""

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

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    backend = os.environ.get("KERAS_BACKEND")
    asked = f"KERAS_BACKEND is {backend}" if backend else "KERAS_BACKEND is not set"
    others = [name for name in BACKENDS if name != backend and find_spec(name)]
    sys.exit(
        f"Error: {asked}, and the package {error.name} is not installed. Run `pip install -r "
        f"{BACKENDS[backend or 'tensorflow']}`, or set KERAS_BACKEND to another one (installed: "
        f"{', '.join(others) or 'none'})."
    )
except ValueError:
    sys.exit(
        f"Error: KERAS_BACKEND is {os.environ.get('KERAS_BACKEND')}; expected one of "
        f"{', '.join(BACKENDS)}."
    )
