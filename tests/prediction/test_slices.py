"""Stacks of slices to volumes, with an oracle in the place of the network."""

import keras
import numpy as np
import pytest

from brats.volumes.normalization import BACKGROUND
from engine.prediction.background import background_network
from engine.prediction.slices import (
    EDGE,
    MARGIN,
    average,
    box,
    brain_limits,
    predict_probabilities,
    predict_volume,
    with_mirroring,
)
from model import build_resunet

NUM_CLASSES = 4


class Oracle:
    """Answers with the true classes of a slice, which it recognizes by channel 0: z + 1.

    Where a slice was padded, and for slices that fill up a batch, it answers class 3.
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


@pytest.mark.parametrize(("multiple", "padded"), [(1, (43, 50)), (8, (48, 56)), (16, (48, 64))])
def test_the_answer_for_each_slice_comes_back_in_its_place(multiple, padded, rng):
    # 7 slices in batches of 3 are 3 + 3 + 1, and all batches have one shape.
    channels, classes, _ = draw_case((7, 43, 50), rng, num_channels=3)
    oracle = Oracle(channels, classes)
    predicted = predict_volume(oracle, channels, 3, multiple)
    assert oracle.batch_shapes == [(3, *padded, 3)] * 3
    assert predicted.dtype == np.uint8
    np.testing.assert_array_equal(predicted, classes)


def test_slices_without_brain_never_reach_the_network(rng):
    channels, classes, _ = draw_case((7, 43, 50), rng, empty=(0, 3, 6))
    channels[3] = 0  # An empty slice is -9 or, where it could not be normalized, 0.
    oracle = Oracle(channels, classes)
    predicted = predict_volume(oracle, channels, batch_size=2)
    assert oracle.seen == [1, 2, 4, 5]
    np.testing.assert_array_equal(predicted, classes)


def test_labels_outside_the_brain_are_background(rng):
    channels, _, brain = draw_case((3, 43, 50), rng)
    assert not brain.all()
    everywhere_edema = Oracle(channels, np.full(brain.shape, 2, dtype=np.uint8))
    predicted = predict_volume(everywhere_edema, channels, batch_size=2)
    np.testing.assert_array_equal(predicted, 2 * brain)


def draw_small_brains(shape, rng, num_channels=2):
    """Returns channels, classes and brain: a noisy ellipse of another size in every slice."""
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    brain = np.zeros(shape, dtype=bool)
    for index, height in enumerate(np.linspace(3, shape[1] / 2 - EDGE - 1, shape[0])):
        width = height * 0.6
        brain[index] = np.hypot((rows - shape[1] // 2) / height, (columns - 61) / width) < 1
    channels = np.full((*shape, num_channels), BACKGROUND, dtype=np.float32)
    channels[brain] = rng.normal(1, 0.5, (brain.sum(), num_channels))
    channels[..., 0][brain] = (np.argwhere(brain)[:, 0] + 1).astype(np.float32)
    classes = rng.integers(0, NUM_CLASSES, shape, dtype=np.uint8) * brain
    return channels, classes, brain


class BoxOracle(Oracle):
    """Finds where a box lies in its slice, by its contents."""

    def answer(self, z, slice_, answer):
        inside = np.argwhere((slice_ != BACKGROUND).all(axis=-1))
        first = inside.min(axis=0)
        in_slice = np.argwhere((self.channels[z] != BACKGROUND).all(axis=-1))
        start = in_slice.min(axis=0) - first
        assert (start % 8 == 0).all()
        assert len(inside) == len(in_slice)  # The whole brain is in its box.
        window = tuple(slice(a, a + length) for a, length in zip(start, answer.shape, strict=True))
        answer[...] = self.classes[z][window]


def test_boxes_come_back_in_their_place(rng):
    channels, classes, _ = draw_small_brains((7, 168, 136), rng)
    oracle = BoxOracle(channels, classes)
    predicted = predict_volume(None, channels, 2, predict_boxes=oracle)
    assert oracle.seen == list(range(7))
    np.testing.assert_array_equal(predicted, classes)


@pytest.mark.parametrize("rounding", [8, 32])
def test_boxes_are_smaller_than_slices_and_their_sides_are_rounded(rounding, rng):
    channels, classes, _ = draw_small_brains((7, 168, 136), rng)
    oracle = BoxOracle(channels, classes)
    predict_volume(None, channels, 2, predict_boxes=oracle, rounding=rounding)
    assert [shape[0] for shape in oracle.batch_shapes] == [2, 2, 2, 2]
    for _, height, width, _ in oracle.batch_shapes:
        assert height < 168 and width < 136
        assert height % rounding == 0 and width % rounding == 0


@pytest.mark.parametrize("multiple", [2, 8, 16, 32])
def test_a_box_lies_on_the_grid_with_its_margin_inside_the_slice(multiple, rng):
    size = np.array((320, 256))
    margin, edge = MARGIN * multiple // 8, -(-EDGE * multiple // 8)
    for _ in range(50):
        first, last = np.sort(rng.integers(edge, size - edge, (2, 2)), axis=0)
        window = box(np.array([[first, last]]), size, multiple, rounding=16)
        for axis, side in enumerate(window):
            assert side.start >= 0 and side.stop <= size[axis]
            assert side.start % multiple == 0 and (side.stop - side.start) % multiple == 0
            assert side.start <= first[axis] - margin and last[axis] + margin < side.stop


def test_a_box_at_the_end_of_its_slice_is_shifted_inside():
    # Rows 100 to 199 with 8 around start at 88 on the grid of 8 and end at 207: 120 long, rounded
    # up to 128: 88 to 215. Columns 190 to 211 start at 176 and end at 219: 44 long, rounded to 48.
    # In 208 rows the box has to start at 80.
    limits = np.array([[(100, 190), (199, 211)]])
    assert box(limits, (240, 240), 8, 16) == (slice(88, 216), slice(176, 224))
    assert box(limits, (240, 240), 8, 8) == (slice(88, 208), slice(176, 224))
    assert box(limits, (208, 240), 8, 16)[0] == slice(80, 208)


def test_one_box_holds_the_brains_of_a_whole_batch():
    limits = np.array([[(100, 90), (119, 130)], [(60, 100), (110, 150)]])
    rows, columns = box(limits, (240, 240), 8, 8)
    assert rows.start <= 60 - MARGIN and rows.stop > 119 + MARGIN
    assert columns.start <= 90 - MARGIN and columns.stop > 150 + MARGIN


def test_a_slice_with_an_empty_modality_is_predicted_whole(rng):
    channels, classes, _ = draw_small_brains((5, 168, 136), rng)
    channels[3, ..., 1] = 0  # Not -9: what is constant cannot be normalized.
    whole = []

    def predict_whole(slices):
        whole.append(slices.shape)
        return np.eye(NUM_CLASSES)[np.full(slices.shape[:3], 2)]

    oracle = BoxOracle(channels, classes)
    predicted = predict_volume(predict_whole, channels, 2, predict_boxes=oracle)
    assert whole == [(2, 168, 136, 2)]
    assert oracle.seen == [0, 1, 2, 4]
    classes[3] = 2 * (channels[3, ..., 0] != BACKGROUND)
    np.testing.assert_array_equal(predicted, classes)


@pytest.mark.parametrize("shift", [(-1, 0), (1, 0), (0, -1), (0, 1)])
def test_a_brain_near_the_edge_is_predicted_whole(shift):
    # 2 x 3 pixels that keep exactly the distance on all sides, then moved by one.
    height, width = 2 * EDGE + 2, 2 * EDGE + 3
    size = -(-height // 8) * 8, -(-width // 8) * 8
    for (row, column), expected in ((0, 0), [0]), (shift, []):
        channels = np.full((1, *size, 1), BACKGROUND)
        row, column = row + EDGE, column + EDGE
        bottom, right = size[0] - 2 * EDGE, size[1] - 2 * EDGE
        channels[0, row : row + bottom, column : column + right] = 1
        assert list(brain_limits(channels, channels[..., 0] == 1, 8)) == expected


def test_boxes_give_the_classes_of_whole_slices(rng):
    keras.utils.set_random_seed(0)
    network = build_resunet((None, None, 2), base_filters=4, depth=2)
    channels, _, brain = draw_small_brains((4, 181, 131), rng)
    boxes = background_network(network)
    calls = []

    def predict_boxes(slices):
        calls.append(slices.shape)
        return keras.ops.convert_to_numpy(boxes(slices, training=False))

    def predict(slices):
        return keras.ops.convert_to_numpy(network(slices, training=False))

    whole = predict_volume(predict, channels, 2, 4)
    boxed = predict_volume(predict, channels, 2, 4, predict_boxes)
    assert len(calls) == 2
    assert len(np.unique(whole[brain])) > 1
    # Random weights decide by small differences; trained ones stay below 1e-5 (results.md).
    assert np.mean((boxed != whole)[brain]) <= 1e-3


def test_probabilities_come_back_in_their_place_and_background_around_them(rng):
    channels, classes, brain = draw_small_brains((3, 168, 136), rng)
    oracle = BoxOracle(channels, classes)
    probabilities = predict_probabilities(None, channels, 2, predict_boxes=oracle)
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(probabilities, np.eye(NUM_CLASSES)[classes * brain])


def test_probabilities_are_averaged_and_not_labels():
    # 0.4 and 0.8, 0.6 and 0.2: the first has another class in front than the mean.
    answers = ([[0.4, 0.6]], [[0.8, 0.2]])
    predict = average([lambda slices, p=p: np.float32(p) for p in answers])
    np.testing.assert_allclose(predict(None), [[0.6, 0.4]])


def test_mirroring_is_undone_before_the_average():
    # One row of three columns; the network says each column's value, plus its place.
    slices = np.array([10.0, 20.0, 40.0]).reshape(1, 1, 3, 1)
    place = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    averaged = with_mirroring(lambda images: images + place)(slices)
    # Mirrored, the columns 40, 20, 10 get 1, 2, 3: back in place that is 13, 22, 41.
    np.testing.assert_allclose(averaged.ravel(), [(11 + 13) / 2, 22, (43 + 41) / 2])
