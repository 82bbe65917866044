"""The network for boxes: it pads with background where the network pads with zeros.

In: a trained residual U-Net. Out: a network that gives the same answers for a box cut out of a
slice, as if the rest of the slice, which is background, were there.

Far from the brain every feature map is constant: its background, one number per channel. The
network for boxes computes how far each map is from its background. There the background is 0, so
padding with zeros is padding with background, and convolutions and normalizations need no
constants. `docs/method.md` has the formulas.
"""

import keras
import numpy as np
from keras import layers, ops

from brats.volumes.normalization import BACKGROUND
from engine.devices.backend import build_predictor

# Distance from the edge at which the background of a uniform slice is read, in pixels of the lowest
# level. The convolutions carry the zeros of the padding 9 such pixels inwards.
PIXELS_TO_THE_EDGE = 12


class ImageDeviation(layers.Layer):
    """Returns how far images are from background: `images - BACKGROUND`."""

    def call(self, images):
        """Returns the deviation: (N, H, W, M) to the same."""
        return images - BACKGROUND


class BackgroundPReLU(layers.PReLU):
    """PReLU of deviations from a background: `prelu(deviation + background) - prelu(background)`.

    Args:
        background: What the input is far from the brain, one number per channel.
        config: Arguments of `keras.layers.PReLU`.
    """

    def __init__(self, background, **config):
        super().__init__(**config)
        self.background = np.asarray(background, dtype="float32")

    def call(self, deviation):
        """Returns the deviation of the output: (N, H, W, C) to the same."""
        # prelu(x) = slope x + (1 - slope) max(x, 0), with the constants collected.
        slope = ops.cast(self.alpha, deviation.dtype)
        background = ops.cast(self.background, deviation.dtype)
        rest = (slope - 1) * ops.maximum(-background, 0)
        return (1 - slope) * ops.maximum(deviation, -background) + (slope * deviation + rest)


def background_network(network):
    """Builds the network for boxes of a `ResUNet`.

    It takes float32 boxes `(N, H, W, M)`, H and W multiples of `2**depth`, that start at such
    multiples in their slice; it returns probabilities `(N, H, W, C)`.
    """
    backgrounds = read_backgrounds(network)

    def replace(layer):
        config = layer.get_config()
        if isinstance(layer, layers.GaussianNoise):  # The first layer; it is off in prediction.
            return ImageDeviation(name=layer.name, dtype=layer.dtype_policy)
        if isinstance(layer, layers.PReLU):
            return BackgroundPReLU(backgrounds[layer.name], **config)
        return type(layer).from_config(config)

    functional = keras.Model(network.input, network.output)
    boxes = keras.models.clone_model(functional, clone_function=replace)
    for layer in network.layers:
        boxes.get_layer(layer.name).set_weights(_without_constants(layer))
    head = boxes.get_layer("head")
    head.set_weights([network.get_layer("head").get_weights()[0], backgrounds["head"]])
    return boxes


def read_backgrounds(network):
    """Returns the background of the feature maps of a `ResUNet`, a dict of float32 `(C,)`.

    By the name of every PReLU layer it has the background of its input, and by "head" the logits.
    """
    maps = {layer.name: layer.input for layer in network.layers if isinstance(layer, layers.PReLU)}
    maps["head"] = network.get_layer("head").output
    center = PIXELS_TO_THE_EDGE * 2 ** network.settings["depth"]
    uniform = np.full((1, 2 * center, 2 * center, network.input.shape[-1]), BACKGROUND, "float32")
    values = build_predictor(lambda: keras.Model(network.input, list(maps.values())))(uniform)
    centers = [
        value[0, value.shape[1] // 2, value.shape[2] // 2] for value in map(np.asarray, values)
    ]
    return dict(zip(maps, centers, strict=True))


def _without_constants(layer):
    """Returns the weights of a layer without constants, so that zeros stay zeros."""
    weights = layer.get_weights()
    if isinstance(layer, layers.Conv2D):
        return [weights[0], *(np.zeros_like(bias) for bias in weights[1:])]
    if isinstance(layer, layers.BatchNormalization):
        gamma, beta, mean, variance = weights
        return [gamma, np.zeros_like(beta), np.zeros_like(mean), variance]
    return weights
