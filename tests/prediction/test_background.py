"""The network for boxes: on a box it predicts what the network predicts on the whole slice."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from brats.volumes.normalization import BACKGROUND
from engine.prediction.background import BackgroundPReLU, background_network, read_backgrounds
from model import build_resunet


def random_network(rng, depth, num_modalities=2, pad_before=False):
    """Builds a network with random weights, none of them 0 or 1, slopes on both sides of both."""
    keras.utils.set_random_seed(0)
    network = build_resunet(
        (None, None, num_modalities), base_filters=3, depth=depth, pad_before=pad_before
    )
    for layer in network.layers:
        weights = layer.get_weights()
        if isinstance(layer, layers.PReLU):
            weights = [rng.uniform(-0.3, 1.2, weights[0].shape)]
        elif isinstance(layer, layers.BatchNormalization):
            weights = [rng.uniform(0.5, 1.5, weight.shape) for weight in weights]
        elif isinstance(layer, layers.Conv2D):
            weights = [weights[0], *(rng.normal(0, 0.2, bias.shape) for bias in weights[1:])]
        layer.set_weights(weights)
    return network


def draw_slices(size, brain, rng):
    """Returns two slices of background with noise in a window of rows and columns."""
    slices = np.full((2, *size, 2), BACKGROUND, dtype=np.float32)
    height, width = (side.stop - side.start for side in brain)
    slices[:, *brain] = rng.normal(size=(2, height, width, 2))
    return slices


def predict(network, slices):
    return ops.convert_to_numpy(network(slices, training=False))


@pytest.mark.parametrize(("depth", "pad_before"), [(1, False), (2, True), (3, False)])
def test_on_whole_slices_it_predicts_the_same_far_from_their_edge(depth, pad_before, rng):
    # The networks pad with zeros and with background; 9 pixels of the lowest level carry it in.
    reach = 9 * 2**depth
    size = (2 * reach + 32, 2 * reach + 16)
    brain = slice(reach, reach + 29), slice(reach, reach + 13)
    network = random_network(rng, depth, pad_before=pad_before)
    slices = draw_slices(size, brain, rng)
    expected = predict(network, slices)[:, *brain]
    boxed = predict(background_network(network), slices)[:, *brain]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(boxed, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("depth", "pad_before"), [(1, True), (2, False), (3, True)])
def test_on_a_box_it_predicts_what_it_predicts_on_the_slice(depth, pad_before, rng):
    # The box starts and ends at multiples of 8, at least 5 pixels of the lowest level away from
    # the brain; what the brain adds beyond them is cut off.
    margin = 5 * 2**depth
    brain = slice(69, 90), slice(93, 104)
    box = tuple(
        slice((side.start - margin) // 8 * 8, -(-(side.stop + margin) // 8) * 8) for side in brain
    )
    network = background_network(random_network(rng, depth, pad_before=pad_before))
    slices = draw_slices((184, 216), brain, rng)
    on_slice = predict(network, slices)[:, *brain]
    on_box = predict(network, slices[:, *box])
    inside = tuple(
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(brain, box, strict=True)
    )
    np.testing.assert_allclose(on_box[:, *inside], on_slice, rtol=0, atol=1e-4)


def test_a_plain_crop_would_not_do(rng):
    network = random_network(rng, depth=2)
    brain = slice(49, 70), slice(57, 68)
    slices = draw_slices((120, 128), brain, rng)
    expected = predict(network, slices)[:, *brain]
    cropped = predict(network, slices[:, 40:80, 48:80])[:, 9:30, 9:20]
    boxed = predict(background_network(network), slices[:, 40:80, 48:80])[:, 9:30, 9:20]
    assert np.abs(cropped - expected).max() > 10 * np.abs(boxed - expected).max()


@pytest.mark.parametrize("pad_before", [False, True])
def test_a_box_of_background_is_background_up_to_its_border(pad_before, rng):
    network = random_network(rng, depth=1, pad_before=pad_before)
    probabilities = predict(
        background_network(network), draw_slices((8, 16), (slice(0, 0),) * 2, rng)
    )
    logits = read_backgrounds(network)["head"]
    softmax = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(probabilities, np.broadcast_to(softmax, (2, 8, 16, 4)), atol=1e-5)


def test_prelu_of_a_deviation_is_the_difference_of_two_prelus():
    # One channel each: slope 0.5, background -2: prelu(1 - 2) - prelu(-2) = -0.5 + 1;
    # slope 2, background 3: prelu(-5 + 3) - prelu(3) = -4 - 3; slope -1, background -1:
    # prelu(3 - 1) - prelu(-1) = 2 - 1.
    layer = BackgroundPReLU([-2.0, 3.0, -1.0], shared_axes=(1, 2))
    layer.build((None, None, None, 3))
    layer.set_weights([np.array([[[0.5, 2.0, -1.0]]])])
    deviations = np.array([[[[1.0, -5.0, 3.0], [0, 0, 0]]]], dtype=np.float32)
    outputs = ops.convert_to_numpy(layer(deviations))
    np.testing.assert_allclose(outputs, [[[[0.5, -7.0, 1.0], [0, 0, 0]]]], atol=1e-6)


def test_sixteen_bits_stay_sixteen_bits(rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = random_network(rng, depth=1)
        boxes = background_network(network)
    finally:
        keras.config.set_dtype_policy("float32")
    assert boxes.get_layer("stem").compute_dtype == "bfloat16"
    brain = slice(24, 40), slice(24, 36)
    slices = draw_slices((64, 56), brain, rng)
    expected = predict(network, slices)[:, *brain]
    np.testing.assert_allclose(predict(boxes, slices)[:, *brain], expected, rtol=0, atol=0.15)
