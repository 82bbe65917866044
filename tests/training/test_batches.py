"""Batches: every patch once, marks for half of them, one order per seed, read ahead in order."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brats.errors import InputError
from brats.parallel import read_ahead
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


class RecordingReader(MemoryReader):
    """Notes how many patches are read at once."""

    def __init__(self, num_patches):
        super().__init__(num_patches)
        self.batch_sizes = []

    def read(self, indices):
        self.batch_sizes.append(len(indices))
        return super().read(indices)


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


@pytest.mark.parametrize(("wanted", "expected"), [(None, 3), (3, 3), (1, 1)])
def test_an_epoch_has_all_batches_or_as_many_as_asked_for(wanted, expected):
    assert steps_per_epoch(9, 4, wanted) == expected


def test_an_epoch_of_more_batches_than_there_are_is_refused():
    with pytest.raises(InputError, match="9 training patches, 3 batches of 4; .* is 4"):
        steps_per_epoch(9, 4, wanted=4)


@pytest.mark.parametrize("num_patches", [0, 3])
def test_a_batch_of_more_patches_than_there_are_is_refused(num_patches):
    with pytest.raises(InputError, match=f"--batch-size is 4, .* has {num_patches} training patch"):
        steps_per_epoch(num_patches, 4)


@given(st.integers(1, 30), st.integers(1, 7), st.integers(0, 1000))
def test_a_pass_holds_every_patch_and_repeats_only_to_fill_the_last_batch(
    num_patches, batch_size, seed
):
    batches = one_pass(num_patches, batch_size, np.random.default_rng(seed))
    numbers = [number for images, *_ in batches for number in patch_numbers(images)]
    assert sorted(numbers[:num_patches]) == list(range(num_patches))
    assert len(numbers) == len(batches) * batch_size < num_patches + batch_size


def test_all_batches_of_a_pass_over_10_patches_have_one_shape(rng):
    batches = one_pass(10, 4, rng)
    assert [images.shape for images, *_ in batches] == 3 * [(4, 2, 3, 1)]
    assert [classes.shape for _, classes, _ in batches] == 3 * [(4, 2, 3)]
    assert [mirrored.shape for *_, mirrored in batches] == 3 * [(4,)]


def test_a_batch_is_filled_even_from_fewer_patches(rng):
    (images, *_), *others = one_pass(3, 8, rng)
    assert not others
    assert len(images) == 8
    assert set(patch_numbers(images)) == {0, 1, 2}


def test_fewer_steps_hold_fewer_patches_without_repeats(rng):
    batches = one_pass(40, 4, rng, num_steps=3)
    numbers = [number for images, *_ in batches for number in patch_numbers(images)]
    assert len(batches) == 3
    assert len(set(numbers)) == 12


def test_the_order_is_random(rng):
    (images, *_), *_ = one_pass(50, 50, rng)
    assert patch_numbers(images) != list(range(50))


def test_patches_come_as_stored_and_half_of_them_are_marked(rng):
    num_mirrored = 0
    for images, classes, mirrored in one_pass(400, 8, rng):
        np.testing.assert_array_equal(images[..., 0] % 10, classes)
        assert (classes == [[0, 1, 2], [3, 4, 5]]).all()
        num_mirrored += mirrored.sum()
    # Half of 400 with a deviation of 10: beyond 5 deviations in one of two million seeds.
    assert 150 < num_mirrored < 250


def test_one_seed_gives_one_pass_and_another_seed_another():
    first, again, other = (one_pass(20, 6, np.random.default_rng(seed)) for seed in (5, 5, 6))
    for part in (0, 2):  # The images and the marks.
        values = [np.concatenate([batch[part] for batch in run]) for run in (first, again, other)]
        np.testing.assert_array_equal(values[0], values[1])
        assert not np.array_equal(values[0], values[2])


@pytest.mark.parametrize("first", [0, 1, 3, 4])
def test_a_pass_from_a_later_batch_is_the_rest_of_the_whole_one_and_reads_no_other(first):
    reader = RecordingReader(20)
    whole = one_pass(20, 6, np.random.default_rng(5))
    rest = list(training_batches(reader, 6, 4, np.random.default_rng(5), first))
    assert reader.batch_sizes == [6] * (4 - first) and len(rest) == 4 - first
    for expected, batch in zip(whole[first:], rest, strict=True):
        for part, value in zip(expected, batch, strict=True):
            np.testing.assert_array_equal(value, part)


@pytest.mark.parametrize("num_patches", [1, 255, 256, 257, 65_536, 65_537])
def test_order_and_marks_are_those_of_a_permutation_and_numbers_drawn_at_once(num_patches):
    batch_size, num_steps, orders, marks = 100, num_batches(num_patches, 100), [], []

    class IndexReader:
        def __len__(self):
            return num_patches

        def read(self, indices):
            orders.append(np.array(indices, dtype=int))
            return (), ()

    for *_, mirrored in training_batches(
        IndexReader(), batch_size, num_steps, np.random.default_rng([3, 1])
    ):
        marks.append(mirrored)
    rng = np.random.default_rng([3, 1])
    order = np.resize(rng.permutation(num_patches), (num_steps, batch_size))
    np.testing.assert_array_equal(orders, order)
    np.testing.assert_array_equal(marks, rng.random((num_steps, batch_size)) < 0.5)


def test_validation_holds_every_patch_once_in_order_and_unflipped():
    reader = MemoryReader(10)
    batches = list(validation_batches(reader, 4))
    assert [len(images) for images, _ in batches] == [4, 4, 2]
    images, classes = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    np.testing.assert_array_equal(images, reader.images)
    np.testing.assert_array_equal(classes, reader.classes)


def test_validation_without_patches_has_no_batches():
    assert list(validation_batches(MemoryReader(0), 4)) == []


def test_reading_ahead_keeps_the_order_and_happens_in_another_thread():
    threads = set()

    def numbers():
        for number in range(20):
            threads.add(threading.current_thread())
            yield number

    assert list(read_ahead(numbers())) == list(range(20))
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_reading_goes_on_while_the_first_batch_is_in_use():
    second_is_read = threading.Event()

    def numbers():
        yield 1
        second_is_read.set()
        yield 2

    for number in read_ahead(numbers()):
        if number == 1:
            assert second_is_read.wait(timeout=30)


def test_an_error_of_reading_comes_after_the_batches_before_it():
    def numbers():
        yield 1
        raise OSError("unplugged")

    seen = []
    with pytest.raises(OSError, match="unplugged"):
        for number in read_ahead(numbers()):
            seen.append(number)
    assert seen == [1]


def test_reading_ends_with_the_loop_that_reads():
    others = set(threading.enumerate())
    ahead = read_ahead(iter(range(1000)))
    next(ahead)
    assert set(threading.enumerate()) - others
    ahead.close()
    assert not set(threading.enumerate()) - others
