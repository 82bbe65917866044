"""What train.py and predict.py run on: batches, epochs, run folders, weights, inference."""

import os
import sys

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    sys.exit(
        f"Error: the backend of Keras needs the package {error.name}. Install it with pip, or set "
        "KERAS_BACKEND to another one."
    )
except ValueError:
    sys.exit(
        f"Error: KERAS_BACKEND is {os.environ.get('KERAS_BACKEND')}; expected tensorflow, jax, "
        "torch or openvino."
    )
