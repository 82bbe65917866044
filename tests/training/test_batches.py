"""Batches: every patch once, half of them marked, one order per seed."""

import numpy as np
import pytest

from brats.errors import InputError
from engine.training.batches import (
    num_batches,
    steps_per_epoch,
    training_batches,
    validation_batches,
)


class MemoryReader:
    """Patches of 2 x 3 pixels and 1 channel: patch i holds 10 i + its pixels' numbers.

    The classes of a patch are its pixels' numbers, 0 to 5.
    """

    def __init__(self, num_patches):
        pixels = np.arange(6).reshape(2, 3)
        self.classes = np.repeat(pixels[np.newaxis], num_patches, axis=0).astype(np.uint8)
        offsets = 10 * np.arange(num_patches).reshape(-1, 1, 1)
        self.images = (self.classes + offsets)[..., np.newaxis].astype(np.float32)

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        return self.images[list(indices)], self.classes[list(indices)]


def one_pass(num_patches, batch_size, rng):
    num_steps = num_batches(num_patches, batch_size)
    return list(training_batches(MemoryReader(num_patches), batch_size, num_steps, rng))


def test_the_last_batch_may_be_short():
    assert [num_batches(number, 4) for number in (0, 1, 8, 9)] == [0, 1, 2, 3]


def test_an_epoch_has_all_batches_or_as_many_as_wanted():
    assert [steps_per_epoch(9, 4, wanted) for wanted in (None, 3, 1)] == [3, 3, 1]
    with pytest.raises(InputError, match="is 4, but .* 9 training patches: 3 batches of 4. Ask"):
        steps_per_epoch(9, 4, wanted=4)
    with pytest.raises(InputError, match="--batch-size is 4, .* only 3 training patches. Ask"):
        steps_per_epoch(3, 4)


def test_patches_come_as_stored_and_half_of_them_are_marked(rng):
    num_mirrored = 0
    for images, classes, mirrored in one_pass(400, 8, rng):
        np.testing.assert_array_equal(images[..., 0] % 10, classes)
        assert (classes == [[0, 1, 2], [3, 4, 5]]).all()
        num_mirrored += mirrored.sum()
    # Half of 400 with a deviation of 10: beyond 5 deviations in one of two million seeds.
    assert 150 < num_mirrored < 250


@pytest.mark.parametrize("first", [0, 1, 4])
def test_a_pass_from_a_later_batch_is_the_rest_of_it_and_reads_no_other(first):
    reader, sizes = MemoryReader(20), []
    read = reader.read
    reader.read = lambda indices: sizes.append(len(indices)) or read(indices)
    complete = one_pass(20, 6, np.random.default_rng(5))
    rest = list(training_batches(reader, 6, 4, np.random.default_rng(5), first))
    assert sizes == [6] * (4 - first) and len(rest) == 4 - first
    for expected, batch in zip(complete[first:], rest, strict=True):
        for part, value in zip(expected, batch, strict=True):
            np.testing.assert_array_equal(value, part)


# Around the numbers that 8 and 16 bits can hold.
@pytest.mark.parametrize("num_patches", [1, 256, 257, 65_536, 65_537])
def test_order_and_marks_are_those_of_a_permutation_and_numbers_drawn_at_once(num_patches):
    batch_size, num_steps, orders = 100, num_batches(num_patches, 100), []

    class IndexReader:
        def __len__(self):
            return num_patches

        def read(self, indices):
            orders.append(np.array(indices, dtype=int))
            return (), ()

    rng = np.random.default_rng([3, 1])
    batches = training_batches(IndexReader(), batch_size, num_steps, rng)
    marks = [mirrored for *_, mirrored in batches]
    rng = np.random.default_rng([3, 1])
    order = np.resize(rng.permutation(num_patches), (num_steps, batch_size))
    np.testing.assert_array_equal(orders, order)
    np.testing.assert_array_equal(marks, rng.random((num_steps, batch_size)) < 0.5)


def test_validation_holds_every_patch_once_in_order():
    reader = MemoryReader(10)
    batches = list(validation_batches(reader, 4))
    assert [len(images) for images, _ in batches] == [4, 4, 2]
    images, classes = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    np.testing.assert_array_equal(images, reader.images)
    np.testing.assert_array_equal(classes, reader.classes)
