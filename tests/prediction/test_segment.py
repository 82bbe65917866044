"""Networks to a function that segments: averages over networks and mirror images."""

import keras
import numpy as np
import pytest

from brats.volumes.normalization import BACKGROUND
from engine.prediction.segment import build_segmenter
from model import build_resunet

SHAPE = (3, 96, 88)
BRAIN = np.s_[:, 30:61, 28:59]


def random_network(seed, depth=1):
    keras.utils.set_random_seed(seed)
    return build_resunet((None, None, 4), base_filters=2, depth=depth)


@pytest.fixture
def channels(rng):
    channels = np.full((*SHAPE, 4), BACKGROUND, dtype=np.float32)
    channels[BRAIN] = rng.normal(size=channels[BRAIN].shape)
    return channels


def predict(network, slices):
    return keras.ops.convert_to_numpy(network(slices, training=False))


# Boxes with random weights, which see far: the margin is 2 and 4 pixels here.
both_forms = pytest.mark.parametrize(("full_slices", "atol"), [(True, 1e-5), (False, 0.05)])


@both_forms
def test_several_networks_are_averaged_and_the_largest_mean_wins(full_slices, atol, channels):
    networks = [random_network(1), random_network(2, depth=2)]
    segment = build_segmenter(networks, 2, full_slices, probabilities=True)
    found = segment(channels)
    expected = (predict(networks[0], channels) + predict(networks[1], channels)) / 2
    np.testing.assert_allclose(found.probabilities[BRAIN], expected[BRAIN], rtol=0, atol=atol)
    np.testing.assert_array_equal(found.classes, found.probabilities.argmax(axis=-1))
    assert len(np.unique(found.classes[BRAIN])) > 1


@both_forms
def test_flips_average_with_the_prediction_of_the_mirror_image(full_slices, atol, channels):
    network = random_network(1)
    segment = build_segmenter([network], 2, full_slices, flips=True, probabilities=True)
    probabilities = segment(channels).probabilities
    plain, mirrored = (predict(network, channels[:, :, ::step])[:, :, ::step] for step in (1, -1))
    assert np.abs(plain - mirrored)[BRAIN].max() > 0.1
    expected = ((plain + mirrored) / 2)[BRAIN]
    np.testing.assert_allclose(probabilities[BRAIN], expected, rtol=0, atol=atol)


def test_classes_are_the_same_without_probabilities(channels):
    networks = [random_network(1)]
    without = build_segmenter(networks, 2)(channels)
    assert without.probabilities is None
    found = build_segmenter(networks, 2, probabilities=True)(channels)
    np.testing.assert_array_equal(without.classes, found.classes)
    assert without.classes.dtype == found.classes.dtype == np.uint8
