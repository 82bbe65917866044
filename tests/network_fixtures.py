"""Networks that each backend wrote, and their predictions: `tests/fixtures/networks`.

In: the backend that Keras runs on. Out: a file of a small network with random weights, and its
softmax on random slices, to compare other backends with.

    KERAS_BACKEND=jax python -m tests.network_fixtures
"""

from pathlib import Path

import keras
import numpy as np

from brats.volumes.network_input import INPUT_FORMAT
from model import build_resunet

FOLDER = Path(__file__).parent / "fixtures" / "networks"
SETTINGS = {"input_shape": (None, None, 4), "base_filters": 2, "depth": 2}
SETTINGS |= {"input_format": INPUT_FORMAT}


def slices():
    """Returns two random slices, float32 `(2, 16, 24, 4)`."""
    return np.random.default_rng(0).normal(size=(2, 16, 24, 4)).astype(np.float32)


def main():
    """Writes the files of the current backend."""
    backend = keras.backend.backend()
    rng = np.random.default_rng(1)
    network = build_resunet(**SETTINGS)
    # Away from 0 and 1, where biases, slopes and statistics begin; variances stay above 0.
    network.set_weights(
        [weight + rng.uniform(-0.1, 0.1, weight.shape) for weight in network.get_weights()]
    )
    FOLDER.mkdir(exist_ok=True)
    network.save(FOLDER / f"{backend}.keras")
    softmax = keras.ops.convert_to_numpy(network(slices(), training=False))
    np.save(FOLDER / f"{backend}.npy", softmax)


if __name__ == "__main__":
    main()
