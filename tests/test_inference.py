"""Slice stacks to volumes, with an oracle in the network's place."""

import numpy as np
import pytest

from brats.normalization import BACKGROUND
from engine.inference import predict_volume

NUM_CLASSES = 4


class Oracle:
    """Knows the classes of every slice, and reads off a slice which one it is.

    In the brain, channel 0 of slice z is z + 1. Where a slice was padded, and in slices that
    fill a batch up, it answers class 3.
    """

    def __init__(self, channels, classes):
        self.channels, self.classes = channels, classes
        self.batch_shapes, self.seen = [], []

    def __call__(self, slices):
        self.batch_shapes.append(slices.shape)
        answers = np.full(slices.shape[:3], 3)
        for slice_, answer in zip(slices, answers, strict=True):
            z = int(slice_[..., 0].max()) - 1
            if z >= 0:
                self.seen.append(z)
                self.answer(z, slice_, answer)
        return np.eye(NUM_CLASSES, dtype=np.float32)[answers]

    def answer(self, z, slice_, answer):
        height, width = self.classes.shape[1:]
        np.testing.assert_array_equal(slice_[:height, :width], self.channels[z])
        assert (slice_[height:] == BACKGROUND).all()
        assert (slice_[:, width:] == BACKGROUND).all()
        answer[:height, :width] = self.classes[z]


def draw_case(shape, rng, num_channels=2, empty=()):
    """Returns channels, classes and brain: a disk in every slice but the empty ones."""
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    disk = np.hypot((rows / shape[1] - 0.45) * 2.5, (columns / shape[2] - 0.5) * 2.2) < 1
    brain = np.repeat(disk[np.newaxis], shape[0], axis=0)
    brain[list(empty)] = False
    channels = np.full((*shape, num_channels), BACKGROUND, dtype=np.float32)
    channels[brain] = rng.random((num_channels,))
    channels[..., 0][brain] = (np.argwhere(brain)[:, 0] + 1).astype(np.float32)
    classes = rng.integers(0, NUM_CLASSES, shape, dtype=np.uint8) * brain
    return channels, classes, brain


@pytest.mark.parametrize(
    ("shape", "batch_size"), [((155, 240, 240), 2), ((7, 43, 50), 3), ((5, 48, 40), 5)]
)
def test_what_the_network_says_of_each_slice_comes_back_in_its_place(shape, batch_size, rng):
    channels, classes, _ = draw_case(shape, rng)
    predicted = predict_volume(Oracle(channels, classes), channels, batch_size)
    assert predicted.dtype == np.uint8
    np.testing.assert_array_equal(predicted, classes)


def test_every_batch_has_one_shape_padded_to_multiples_of_8(rng):
    # 43 rows become 48, 50 columns 56; 7 slices in batches of 3 are 3 + 3 + 1.
    channels, classes, _ = draw_case((7, 43, 50), rng, num_channels=3)
    oracle = Oracle(channels, classes)
    predict_volume(oracle, channels, batch_size=3)
    assert oracle.batch_shapes == [(3, 48, 56, 3)] * 3


@pytest.mark.parametrize(("multiple", "padded"), [(1, (43, 50)), (4, (44, 52)), (16, (48, 64))])
def test_the_multiple_of_the_padding_is_an_argument(multiple, padded, rng):
    channels, classes, _ = draw_case((3, 43, 50), rng)
    oracle = Oracle(channels, classes)
    predicted = predict_volume(oracle, channels, 3, multiple)
    assert oracle.batch_shapes == [(3, *padded, 2)]
    np.testing.assert_array_equal(predicted, classes)


def test_slices_without_brain_never_reach_the_network(rng):
    channels, classes, _ = draw_case((7, 43, 50), rng, empty=(0, 3, 6))
    channels[3] = 0  # An empty slice is -9 or, where it could not be normalized, 0.
    oracle = Oracle(channels, classes)
    predicted = predict_volume(oracle, channels, batch_size=2)
    assert oracle.seen == [1, 2, 4, 5]
    np.testing.assert_array_equal(predicted, classes)


@pytest.mark.parametrize("fill", [0.0, BACKGROUND])
def test_a_volume_without_brain_is_background_without_the_network(fill):
    channels = np.full((4, 11, 13, 2), fill, dtype=np.float32)
    predicted = predict_volume(None, channels, batch_size=2)
    assert predicted.shape == (4, 11, 13)
    assert not predicted.any()


def test_labels_outside_the_brain_are_background(rng):
    channels, _, brain = draw_case((3, 43, 50), rng)
    assert not brain.all()
    everywhere_edema = Oracle(channels, np.full(brain.shape, 2, dtype=np.uint8))
    predicted = predict_volume(everywhere_edema, channels, batch_size=2)
    np.testing.assert_array_equal(predicted, 2 * brain)


def test_the_most_probable_class_wins_without_being_certain(rng):
    channels, _, brain = draw_case((2, 8, 16), rng)

    def unsure(slices):
        probabilities = np.zeros((*slices.shape[:3], NUM_CLASSES))
        probabilities[...] = (0.2, 0.3, 0.1, 0.4)
        probabilities[:, :, :5] = (0.2, 0.4, 0.3, 0.1)  # The first 5 columns.
        return probabilities

    predicted = predict_volume(unsure, channels, batch_size=2)
    assert set(predicted[..., :5][brain[..., :5]]) == {1}
    assert set(predicted[..., 5:][brain[..., 5:]]) == {3}
