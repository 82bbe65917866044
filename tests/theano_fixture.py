"""The network as the original's users trained it under Theano: `tests/fixtures/theano_2_filters.*`.

In: Keras 2 on Theano, in a Python of their own, without the rest of this repository. Out: a model
of 2 filters and depth 2 with random weights, as Keras 2 wrote it, and its softmax on random slices
that are not square, to compare this repository's network with.

    python3.7 -m venv theano
    theano/bin/pip install keras==2.2.4 theano==1.0.5 "numpy<1.20" "scipy<1.6" "h5py<3"
    KERAS_BACKEND=theano theano/bin/python tests/theano_fixture.py
"""

from pathlib import Path

import numpy as np

FIXTURE = Path(__file__).parent / "fixtures" / "theano_2_filters"
BASE_FILTERS, DEPTH = 2, 2


def build_network():
    """Builds the published network by its listing; Keras 2 saves the layers in this order."""
    from keras import layers, models

    def convolve(x, filters, size, **settings):
        return layers.Conv2D(filters, size, padding="same", **settings)(x)

    def activate(x):
        return layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization()(x))

    def convolve_twice(x, filters):
        return convolve(activate(convolve(activate(x), filters, 3)), filters, 3)

    inputs = layers.Input((None, None, 4))
    x = convolve(layers.GaussianNoise(0.01)(inputs), BASE_FILTERS, 2)
    skips = []
    for level in range(DEPTH):
        skips.append(layers.add([x, convolve_twice(x, BASE_FILTERS * 2**level)]))
        x = convolve(skips[-1], BASE_FILTERS * 2 ** (level + 1), 2, strides=2)
    x = layers.add([x, convolve_twice(x, BASE_FILTERS * 2**DEPTH)])
    for level in reversed(range(DEPTH)):
        filters = BASE_FILTERS * 2**level
        x = convolve(layers.UpSampling2D(2)(x), filters, 2)
        x = layers.concatenate([skips[level], x])
        convolved = convolve_twice(x, filters)
        x = layers.add([convolve(x, filters, 1, use_bias=False), convolved])
    x = layers.Activation("softmax")(convolve(activate(x), 4, 1))
    return models.Model(inputs, x)


def main():
    """Writes the file and the predictions of its network."""
    rng = np.random.RandomState(0)
    network = build_network()
    # Away from 0 and 1, where biases, slopes and statistics begin; variances stay above 0.
    network.set_weights(
        [weight + rng.uniform(-0.1, 0.1, weight.shape) for weight in network.get_weights()]
    )
    network.save(str(FIXTURE.with_suffix(".hdf5")))
    images = rng.normal(size=(2, 16, 24, 4)).astype(np.float32)
    probabilities = network.predict_on_batch(images)
    np.savez_compressed(
        str(FIXTURE.with_suffix(".npz")), images=images, probabilities=probabilities
    )


if __name__ == "__main__":
    main()
