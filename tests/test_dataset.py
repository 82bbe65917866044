"""Batches: every patch once, flips of columns only, one order per seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dataset import flip_left_right, num_batches, training_batches, validation_batches


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


def patch_numbers(images):
    """Returns which patches a batch holds: their smallest pixel, divided by 10."""
    return [int(image.min()) // 10 for image in images]


def one_pass(num_patches, batch_size, rng, num_steps=None):
    num_steps = num_batches(num_patches, batch_size) if num_steps is None else num_steps
    return list(training_batches(MemoryReader(num_patches), batch_size, num_steps, rng))


@pytest.mark.parametrize(
    ("num_patches", "batch_size", "expected"), [(0, 4, 0), (1, 4, 1), (8, 4, 2), (9, 4, 3)]
)
def test_the_last_batch_may_be_short(num_patches, batch_size, expected):
    assert num_batches(num_patches, batch_size) == expected


@given(st.integers(1, 30), st.integers(1, 7), st.integers(0, 1000))
def test_a_pass_holds_every_patch_once(num_patches, batch_size, seed):
    batches = one_pass(num_patches, batch_size, np.random.default_rng(seed))
    numbers = [number for images, _ in batches for number in patch_numbers(images)]
    assert sorted(numbers) == list(range(num_patches))


def test_a_pass_over_10_patches_ends_with_a_batch_of_2(rng):
    batches = one_pass(10, 4, rng)
    assert [images.shape for images, _ in batches] == [(4, 2, 3, 1), (4, 2, 3, 1), (2, 2, 3, 1)]
    assert [classes.shape for _, classes in batches] == [(4, 2, 3), (4, 2, 3), (2, 2, 3)]


def test_fewer_steps_hold_fewer_patches_without_repeats(rng):
    batches = one_pass(40, 4, rng, num_steps=3)
    numbers = [number for images, _ in batches for number in patch_numbers(images)]
    assert len(batches) == 3
    assert len(set(numbers)) == 12


def test_the_order_is_random(rng):
    (images, _), *_ = one_pass(50, 50, rng)
    assert patch_numbers(images) != list(range(50))


def test_every_patch_is_as_it_was_or_mirrored_in_columns_with_its_classes(rng):
    # As stored  0 1 2   mirrored  2 1 0
    #            3 4 5             5 4 3
    stored, mirrored = [[0, 1, 2], [3, 4, 5]], [[2, 1, 0], [5, 4, 3]]
    num_mirrored = 0
    for images, classes in one_pass(400, 7, rng):
        np.testing.assert_array_equal(images[..., 0] % 10, classes)
        for patch in classes.tolist():
            assert patch in (stored, mirrored)
            num_mirrored += patch == mirrored
    # Half of 400 with a deviation of 10: beyond 5 deviations in one of two million seeds.
    assert 150 < num_mirrored < 250


def test_a_flip_touches_only_the_patches_asked_for():
    images, classes = MemoryReader(3).read(range(3))
    flip_left_right(images, classes, np.array([False, True, False]))
    assert classes.tolist() == [
        [[0, 1, 2], [3, 4, 5]],
        [[2, 1, 0], [5, 4, 3]],
        [[0, 1, 2], [3, 4, 5]],
    ]
    assert images[1, ..., 0].tolist() == [[12, 11, 10], [15, 14, 13]]
    assert images[2, ..., 0].tolist() == [[20, 21, 22], [23, 24, 25]]


def test_one_seed_gives_one_pass_and_another_seed_another():
    first, again, other = (
        np.concatenate([images for images, _ in one_pass(20, 6, np.random.default_rng(seed))])
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_pass_leaves_the_stored_patches_as_they_are(rng):
    reader = MemoryReader(9)
    list(training_batches(reader, 4, 3, rng))
    np.testing.assert_array_equal(reader.images, MemoryReader(9).images)


def test_validation_holds_every_patch_once_in_order_and_unflipped():
    reader = MemoryReader(10)
    batches = list(validation_batches(reader, 4))
    assert [len(images) for images, _ in batches] == [4, 4, 2]
    images, classes = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    np.testing.assert_array_equal(images, reader.images)
    np.testing.assert_array_equal(classes, reader.classes)


def test_validation_without_patches_has_no_batches():
    assert list(validation_batches(MemoryReader(0), 4)) == []
