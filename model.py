"""The residual U-Net: a batch of patches in, a class distribution per pixel out.

In: images `(N, H, W, 4)`, normalized, H and W multiples of `2**depth`. Out: softmax
probabilities `(N, H, W, 4)`. Build it with `build_resunet`; `docs/method.md` has the figure.

Modules of `engine/` that depend on the inside of the network: `prediction/background.py` (every
kind of layer, "head", depth), `prediction/segment.py` (depth), `networks/files.py` (settings,
number and order of layers), `networks/weights.py` (convolutions, settings), `devices/replicas.py`
(batch normalization, noise, depth), `devices/sharding.py` (`train_step`), `training/epochs.py`
(noise).

Reference: Kermi, Mahmoudi, Khadir, "Deep Convolutional Neural Networks Using U-Net for Automatic
Brain Tumor Segmentation in Multimodal MRI Volumes", BrainLes 2018.
"""

import keras
from keras import layers, ops

NOISE_DEVIATION = 0.01  # Of the Gaussian noise added to the input in training.


def build_resunet(
    input_shape=(128, 128, 4),
    num_classes=4,
    base_filters=64,
    depth=3,
    pad_before=False,
    input_format=None,
):
    """Builds the residual U-Net with pre-activation units.

    Args:
        input_shape: `(H, W, num_modalities)`; H and W are multiples of `2**depth`, or None for
            any such size.
        num_classes: Number of output channels, the background included.
        base_filters: Filters of the first level; each level below has twice as many.
        depth: Number of times that the resolution is halved.
        pad_before: Whether 2x2 convolutions pad above and to the left of a slice, as under Theano,
            instead of below and to the right.
        input_format: Dict that JSON can hold, which says what the images have to be, such as
            `brats.volumes.network_input.INPUT_FORMAT`; None if unknown. It is stored with the
            network and changes nothing else.

    Returns:
        A `ResUNet`: float images `(N, H, W, num_modalities)` to float32 probabilities
        `(N, H, W, num_classes)`.

    Raises:
        ValueError: If H or W is not a multiple of `2**depth`, now or when the network is called.
    """
    check_size(*input_shape[:2], depth)
    inputs = keras.Input(input_shape, name="images")
    x = layers.GaussianNoise(NOISE_DEVIATION, name="noise")(inputs)
    x = _convolution_2x2(x, base_filters, "stem", pad_before)

    skips = []
    for level in range(1, depth + 1):
        filters = base_filters * 2 ** (level - 1)
        x = encoder_unit(x, filters, f"encoder{level}")
        skips.append(x)
        x = _convolution_2x2(x, 2 * filters, f"down{level}", pad_before, strides=2)

    x = encoder_unit(x, base_filters * 2**depth, "bottom")

    for level in range(depth, 0, -1):
        filters = base_filters * 2 ** (level - 1)
        x = layers.UpSampling2D(2, interpolation="nearest", name=f"up{level}_nearest")(x)
        x = _convolution_2x2(x, filters, f"up{level}", pad_before)
        x = layers.Concatenate(name=f"join{level}")([skips[level - 1], x])
        x = decoder_unit(x, filters, f"decoder{level}")

    x = _activate(x, "head_norm", "head_prelu")
    x = _convolution(x, num_classes, 1, "head")
    outputs = layers.Activation("softmax", dtype="float32", name="probabilities")(x)
    settings = {"input_shape": tuple(input_shape), "num_classes": num_classes}
    settings |= {"base_filters": base_filters, "depth": depth}
    # Only what was given is stored.
    settings |= {"pad_before": True} if pad_before else {}
    settings |= {"input_format": input_format} if input_format else {}
    return ResUNet(inputs, outputs, settings)


def encoder_unit(x, filters, name):
    """Adds two activated 3x3 convolutions to their input: (N, H, W, filters) to the same."""
    return layers.Add(name=f"{name}_add")([x, _two_convolutions(x, filters, name)])


def decoder_unit(x, filters, name):
    """Adds two activated 3x3 convolutions to a 1x1 one: (N, H, W, 2 filters) to half of it."""
    convolved = _two_convolutions(x, filters, name)
    shortcut = _convolution(x, filters, 1, f"{name}_shortcut", use_bias=False)
    return layers.Add(name=f"{name}_add")([shortcut, convolved])


def check_size(height, width, depth):
    """Raises a `ValueError` if slices cannot be halved `depth` times. None is an unknown side."""
    multiple = 2**depth
    if any(side is not None and side % multiple for side in (height, width)):
        raise ValueError(
            f"Slices of {height} x {width} cannot be halved {depth} times; expected multiples of "
            f"{multiple}. Pad them."
        )


def mirror(images, classes, mirrored=None):
    """Mirrors some patches left to right, together with their classes.

    Args:
        images: Tensor `(N, H, W, M)`.
        classes: Tensor `(N, H, W)`.
        mirrored: bool `(N,)`, true for patches to mirror; None for none.

    Returns:
        `(images, classes)`, with the same shapes and dtypes.
    """
    if mirrored is None:
        return images, classes
    which = ops.reshape(mirrored, (-1, 1, 1))
    images = ops.where(which[..., None], ops.flip(images, axis=2), images)
    return images, ops.where(which, ops.flip(classes, axis=2), classes)


@keras.saving.register_keras_serializable(package="brats")
class ResUNet(keras.Model):
    """The functional model of `build_resunet`. Its file stores the arguments it was built from.

    Attributes:
        settings: Dict of the arguments of `build_resunet`.
    """

    def __init__(self, inputs, outputs, settings):
        super().__init__(inputs, outputs, name="resunet")
        self.settings = settings

    def call(self, inputs, training=None, mask=None):
        """Checks the size of the slices, if it is known, and runs the network."""
        check_size(*inputs.shape[1:3], self.settings["depth"])
        return super().call(inputs, training=training, mask=mask)

    def train_step(self, *arguments):
        """Mirrors a batch `(images, classes, mirrored)` on the device, and takes a step on it."""
        # Keras passes the third part on as weights. Here it says which patches to mirror, or None.
        *state, batch = arguments  # JAX passes its state first.
        return super().train_step(*state, mirror(*batch))

    def get_config(self):
        """Returns the arguments of `build_resunet`."""
        return dict(self.settings)

    @classmethod
    def from_config(cls, config):
        """Builds the network from what `get_config` returns."""
        return build_resunet(**config)


def _two_convolutions(x, filters, name):
    x = _activate(x, f"{name}_norm1", f"{name}_prelu1")
    x = _convolution(x, filters, 3, f"{name}_conv1")
    x = _activate(x, f"{name}_norm2", f"{name}_prelu2")
    return _convolution(x, filters, 3, f"{name}_conv2")


def _activate(x, norm_name, prelu_name):
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=norm_name)(x)
    return layers.PReLU(shared_axes=(1, 2), name=prelu_name)(x)


def _convolution_2x2(x, filters, name, pad_before, strides=1):
    """Convolves pixels with their right and lower neighbors, or with their left and upper ones."""
    if not pad_before:
        return _convolution(x, filters, 2, name, strides)
    x = layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"{name}_pad")(x)  # (N, H + 1, W + 1, C)
    return _convolution(x, filters, 2, name, strides, padding="valid")


def _convolution(x, filters, size, name, strides=1, padding="same", use_bias=True):
    return layers.Conv2D(
        filters, size, strides=strides, padding=padding, use_bias=use_bias, name=name
    )(x)
