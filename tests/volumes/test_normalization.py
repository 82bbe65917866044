"""Normalization by hand, against the original, and against the same formula pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brats.cases.find import find_cases
from brats.volumes.case import read_case
from brats.volumes.network_input import PUBLISHED_WINDOW
from brats.volumes.normalization import (
    BACKGROUND,
    SLICES_AT_ONCE,
    brain_mask,
    normalize,
)

# 101 pixels, so that the 1st and 99th percentile are the second smallest and second largest.
# Clipped to 0 and 20, the brain is 25 pixels of 10 and 25 of 20: mean 15, deviation 5.
ROW = np.array([0] * 51 + [10] * 25 + [20] * 24 + [1000])
STANDARDIZED_ROW = np.array([BACKGROUND] * 51 + [-1.0] * 25 + [1.0] * 25)


def brain_slices(num_slices, rng, shape=(24, 20)):
    """Returns int16 slices with a brain of two thirds of the rows, each of another intensity."""
    volume = rng.integers(1, 500, (num_slices, *shape), dtype=np.int16)
    volume *= np.arange(1, num_slices + 1, dtype=np.int16)[:, np.newaxis, np.newaxis]
    volume[:, : shape[0] // 3] = 0
    return volume


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_normalization_is_that_of_the_original(real_cases, dtype):
    # Slices of a real case, which may not be passed on with the repository.
    with np.load(real_cases.parent / "reference" / "normalization.npz") as reference:
        raw, expected = reference["raw"], reference["expected"]
    for volume, slices in zip(raw, expected, strict=True):
        normalized = normalize(volume.astype(dtype))
        assert normalized.dtype == np.float32
        np.testing.assert_allclose(normalized, slices, rtol=0, atol=1e-5)


def test_normalized_slice_by_hand():
    assert np.array_equal(normalize(ROW.reshape(1, 1, 101))[0, 0], STANDARDIZED_ROW)


def test_statistics_come_from_the_window_and_apply_to_the_whole_slice():
    # The window is the first row, or column. Outside it 5 is (5 - 15) / 5, and 30 is clipped.
    volume = np.stack([ROW, [0, 5, 30] + [10] * 98])[np.newaxis]
    expected = np.stack([STANDARDIZED_ROW, [BACKGROUND, -2.0, 1.0] + [-1.0] * 98])
    assert np.array_equal(normalize(volume, rows=slice(0, 1))[0], expected)
    transposed = volume.transpose(0, 2, 1)
    assert np.array_equal(normalize(transposed, columns=slice(0, 1))[0], expected.T)


def by_the_formula(volume, rows, columns):
    """Returns the slices normalized one by one and pixel by pixel, with NumPy's percentiles."""
    normalized = []
    for pixels in volume.astype(np.float64):
        low, high = np.percentile(pixels[rows, columns], (1, 99))
        clipped = np.clip(pixels, low, high)
        window = clipped[rows, columns]
        brain = window[window != 0]
        if np.ptp(window) == 0 or np.ptp(brain) == 0:
            normalized.append(clipped)
        else:
            standardized = (clipped - brain.mean()) / brain.std()
            normalized.append(np.where(pixels == 0, BACKGROUND, standardized))
    return np.stack(normalized).astype(np.float32)


@given(
    arrays(np.uint16, (3, 9, 13), elements=st.sampled_from([0, 0, 1, 2, 7, 300, 900, 65535])),
    st.sampled_from([(slice(None), slice(None)), (slice(1, 8), slice(2, 12))]),
    st.sampled_from([np.uint16, np.int32, np.float32, np.float64]),
)
def test_whole_numbers_of_any_type_follow_the_formula(volume, window, dtype):
    expected = by_the_formula(volume, *window)
    np.testing.assert_allclose(normalize(volume.astype(dtype), *window), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "change", [lambda x: x + 0.25 * (x > 0), lambda x: x - 40, lambda x: 200 * x]
)
def test_fractions_negative_and_large_numbers_follow_the_formula(rng, change):
    volume = change(brain_slices(3, rng).astype(np.float64))
    window = slice(2, 20), slice(5, 18)
    expected = by_the_formula(volume, *window)
    np.testing.assert_allclose(normalize(volume, *window), expected, rtol=1e-5, atol=1e-6)


def test_a_real_case_is_normalized_to_the_last_bit(real_cases):
    case = find_cases(real_cases, need_segmentation=True)[0][0]
    for volume in read_case(case).volumes:
        window = volume[PUBLISHED_WINDOW][60:64]
        expected = by_the_formula(window, slice(None), slice(None))
        assert np.array_equal(normalize(window), expected)


def test_slices_do_not_depend_on_those_normalized_with_them(rng):
    volume = brain_slices(2 * SLICES_AT_ONCE + 3, rng)  # Three blocks, the last one short.
    volume[SLICES_AT_ONCE + 2] = 0
    one_by_one = np.concatenate([normalize(part[np.newaxis]) for part in volume])
    np.testing.assert_allclose(normalize(volume), one_by_one, rtol=0, atol=1e-6)
    assert np.array_equal(normalize(volume) == BACKGROUND, one_by_one == BACKGROUND)


def test_empty_slice_stays_zero():
    assert not normalize(np.zeros((2, 5, 7), dtype=np.int16)).any()


def test_slice_with_less_than_one_percent_brain_becomes_zero():
    # Of 400 pixels, the 99th percentile lies at sorted position 0.99 * 399 = 395.01. With three
    # pixels of brain the zeros fill positions 0 to 396; with five only 0 to 394.
    volume = np.zeros((2, 16, 25), dtype=np.int16)
    volume[0, 3, :3] = 100, 200, 300
    volume[1, 3, :5] = 100, 200, 300, 400, 500
    normalized = normalize(volume)
    assert not normalized[0].any()
    assert np.count_nonzero(normalized[1] == BACKGROUND) == 395


def test_brain_outside_an_empty_window_becomes_zero():
    volume = np.zeros((1, 5, 7), dtype=np.int16)
    volume[0, 4] = 50
    assert not normalize(volume, rows=slice(0, 3)).any()


def test_brain_without_background_is_not_marked_as_background():
    # Departure: the original marks every pixel at the minimum, here the pixels 1 and 2, which are
    # clipped to 2. Clipped, 1 to 101 is symmetric about 51.
    normalized = normalize(np.arange(1, 102).reshape(1, 1, 101))[0, 0]
    assert normalized.min() > BACKGROUND
    assert normalized[50] == pytest.approx(0, abs=1e-6)
    assert normalized[0] == normalized[1] == pytest.approx(-normalized[100])


@pytest.mark.parametrize("value", [1, 7, 0.1])
def test_slice_of_constant_brain_stays_as_it_is(value):
    volume = np.zeros((1, 4, 5))
    volume[0, :2] = value
    assert np.array_equal(normalize(volume), volume.astype(np.float32))


def test_brain_is_where_any_channel_is_neither_zero_nor_background():
    channels = np.array([[[[0, 0], [-9, -9], [-9, 0], [-9, 0.5], [1, 0]]]])
    assert brain_mask(channels).tolist() == [[[False, False, False, True, True]]]
