"""What train.py and predict.py run on: batches, epochs, run folders, weights, inference."""

import os
import sys

# The file of requirements of each backend.
BACKENDS = {
    "tensorflow": "requirements.txt",
    "jax": "requirements-jax.txt",
    "torch": "requirements-torch.txt",
    "openvino": "requirements-openvino.txt",
}

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    sys.exit(
        f"Error: the package {error.name} is not installed, which Keras needs for {backend}. Run "
        f"`pip install -r {BACKENDS.get(backend, 'requirements.txt')}`, or set KERAS_BACKEND to "
        f"another of {', '.join(BACKENDS)}."
    )
except ValueError:
    sys.exit(
        f"Error: KERAS_BACKEND is {os.environ.get('KERAS_BACKEND')}; expected one of "
        f"{', '.join(BACKENDS)}."
    )
