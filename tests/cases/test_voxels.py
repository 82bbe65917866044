"""What the voxels of a case tell: each oddity, and what just is none."""

import numpy as np
import pytest

from brats.cases.voxels import (
    case_warnings,
    cut_off_warnings,
    flat_end_warnings,
    intensity_warnings,
    sampled_warnings,
    skull_warnings,
    tumor_warnings,
)


def ramp(size=10_000):
    """Returns the values 1000, 1001, ...: each once, as of an image that nothing was done to."""
    return np.arange(1000, 1000 + size, dtype=np.int16)


def ellipsoid(shape=(18, 20, 22)):
    """Returns the mask of an ellipsoid that leaves a plane free on every side."""
    radii = np.array(shape).reshape(3, 1, 1, 1) / 2 - 1
    offsets = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    return ((offsets / radii) ** 2).sum(axis=0) <= 1


def test_intensities_of_which_each_comes_once_are_not_odd():
    assert intensity_warnings(ramp()) == []


@pytest.mark.parametrize(("kind", "largest"), [("int16", "32767"), ("uint8", "255")])
def test_many_voxels_at_the_largest_value_of_the_type_are_clipped(kind, largest):
    values = np.array([1, 2, 3] + 10 * [int(largest)], dtype=kind)
    assert intensity_warnings(values) == [
        f"10 voxels at {largest}, the largest value of {kind}: clipped"
    ]


def test_one_voxel_of_many_at_the_largest_value_of_the_type_may_be_a_stretched_image():
    values = ramp()
    values[5] = 32767
    assert intensity_warnings(values) == [
        "1 voxel at 32767, the largest value of int16: clipped, or stretched to fill the type"
    ]


def test_a_largest_value_is_clipped_at_if_one_voxel_in_ten_thousand_has_it():
    values = np.arange(200_000).astype(np.float32)
    values[:20] = 200_000
    assert intensity_warnings(values) == [
        "20 voxels (0.01 % of the brain) at 200000, its largest value: clipped"
    ]
    values[0] = 1
    assert intensity_warnings(values) == []


def test_negative_intensities_are_normalized_or_an_overshoot():
    # 1, 2, ... 19 and one negative: 5 %. Then two in twenty.
    values = np.arange(1, 21).astype(np.float32)
    values[0] = -1
    assert "1 voxel negative; expected intensities of at least 0" in intensity_warnings(values)
    values[1] = -2  # The mean is (3 + ... + 20 - 3) / 20 = 204 / 20.
    assert (
        "10 % of the brain is negative, its mean is 10.2: already normalized"
        in intensity_warnings(values)
    )


def test_a_head_fills_the_volume_or_is_larger_than_a_brain():
    assert skull_warnings(89, 100, 0.001) == []
    assert skull_warnings(91, 100, 0.001) == ["9 % of the volume is 0: not skull-stripped"]
    # 250,000 voxels of 2 x 2 x 2 mm are 2,000 ml.
    assert skull_warnings(250_000, 10**6, 0.008) == []
    assert skull_warnings(250_001, 10**6, 0.008) == [
        "2,000 ml are not 0; a brain has up to 2,000: not skull-stripped"
    ]


def test_an_image_without_part_of_the_brain_is_cut_off():
    assert cut_off_warnings(ramp(990), brain_size=1000) == []
    assert cut_off_warnings(ramp(980), brain_size=1000) == [
        "one value, 0, in 2 % of the brain: cut off"
    ]


def test_an_image_with_one_low_value_in_part_of_the_brain_is_cut_off():
    values = ramp(1000)
    values[100:120] = 7
    assert cut_off_warnings(values, brain_size=1000) == [
        "one value, 7, in 2 % of the brain: cut off"
    ]


def test_many_low_values_and_one_common_high_value_are_not_cut_off():
    low, common = ramp(1000), ramp(1000)
    low[100:120] = range(1, 21)
    common[100:200] = 1500
    assert cut_off_warnings(low, brain_size=1000) == []
    assert cut_off_warnings(common, brain_size=1000) == []


def test_a_share_is_counted_in_the_whole_image_and_not_in_the_sample():
    # Of 400,000 voxels every fourth is in the sample.
    values = np.full(400_000, 500, dtype=np.int16)
    values[:8000:4] = 3  # 2,000: 2 % of the sample, 0.5 % of the image.
    assert cut_off_warnings(values, brain_size=400_000) == []
    values[1:8000:4] = values[2:8000:4] = 3  # 6,000.
    assert cut_off_warnings(values, brain_size=400_000) == [
        "one value, 3, in 1.5 % of the brain: cut off"
    ]


def test_a_brain_that_ends_in_caps_is_whole():
    assert flat_end_warnings(ellipsoid()) == []


@pytest.mark.parametrize(("axis", "name", "plane"), [(0, "z", 5), (1, "y", 7), (2, "x", 9)])
def test_a_brain_that_ends_in_a_plane_is_cut_off(axis, name, plane):
    # Near the middle: the plane is nearly the largest section.
    brain = ellipsoid((34, 36, 38))
    within = brain.copy()
    np.moveaxis(within, axis, 0)[:plane] = False
    touching = np.moveaxis(np.moveaxis(brain, axis, 0)[plane:], 0, axis)
    assert flat_end_warnings(within) == [
        f"The brain ends in a flat plane at {name} = {plane}, within the volume: cut off."
    ]
    assert flat_end_warnings(touching) == [
        f"The brain ends in a flat plane at {name} = 0, a side of the volume: cut off."
    ]
    last = touching.shape[axis] - 1
    assert flat_end_warnings(np.flip(touching, axis)) == [
        f"The brain ends in a flat plane at {name} = {last}, a side of the volume: cut off."
    ]


def test_of_a_few_thick_slices_the_last_may_be_large():
    assert flat_end_warnings(ellipsoid()[8:12]) == []


def test_tumor_outside_the_brain_is_counted():
    brain = np.array([[[1, 1, 0, 0]]], dtype=bool)
    assert tumor_warnings(brain, np.array([[[1, 3, 0, 0]]], dtype=np.uint8)) == []
    assert tumor_warnings(brain, np.array([[[0, 1, 3, 2]]], dtype=np.uint8)) == [
        "2 of 3 voxels of tumor outside the brain."
    ]


def test_a_segmentation_without_tumor_says_so():
    brain = np.ones((1, 1, 2), dtype=bool)
    assert tumor_warnings(brain, np.zeros((1, 1, 2), dtype=np.uint8)) == [
        "The segmentation holds no tumor."
    ]


def test_what_images_have_in_common_is_said_once():
    brain = ellipsoid()
    size = np.count_nonzero(brain)
    stretched = ramp(size)
    stretched[0] = 32767
    values = {"flair": stretched, "t1": ramp(size), "t2": stretched}
    clipped = "1 voxel at 32767, the largest value of int16: clipped, or stretched to fill the type"
    assert case_warnings(brain, values, None, 0.001) == [f"flair, t2: {clipped}."]


def test_a_head_is_not_said_to_be_cut_off():
    head = np.ones((18, 20, 22), dtype=bool)
    whole, part = ramp(head.size), ramp(head.size - 200)
    sentence = "0 % of the volume is 0: not skull-stripped"
    assert case_warnings(head, {"t1": whole, "t2": part}, None, 0.001) == [
        f"t1: {sentence}.",
        "t2: 2.5 % of the volume is 0: not skull-stripped.",
    ]


def image_of_a_brain(rng):
    """Returns an image of an ellipsoid in which each value comes once."""
    brain = ellipsoid((40, 72, 72))
    image = np.zeros(brain.shape, dtype=np.int32)
    image[brain] = rng.permutation(np.arange(10**5, 10**5 + np.count_nonzero(brain)))
    return image


def test_a_sample_that_is_not_odd_is_all_that_is_looked_at(rng):
    images = {"flair": image_of_a_brain(rng), "t1": image_of_a_brain(rng)}
    assert sampled_warnings(images, None, 0.001) == []
    images["t1"][21, 37, 35] = np.iinfo(np.int32).max  # Not in the sample.
    assert sampled_warnings(images, None, 0.001) == []


def test_where_a_sample_is_odd_all_voxels_are_told_of(rng):
    images = {"flair": image_of_a_brain(rng), "t1": image_of_a_brain(rng)}
    brain = images["t1"] != 0
    limit = np.percentile(images["t1"][brain], 90).astype(int)
    np.minimum(images["t1"], limit, out=images["t1"])
    num_clipped = np.count_nonzero(images["t1"] == limit)
    (warning,) = sampled_warnings(images, None, 0.001)
    assert warning.startswith(f"t1: {num_clipped:,} voxels (10 % of the brain) at {limit:g}, ")


def test_tumor_outside_the_brain_is_seen_in_a_sample(rng):
    image = image_of_a_brain(rng)
    classes = np.zeros(image.shape, dtype=np.uint8)
    classes[0, :9, :9] = classes[20, 30:40, 30:40] = 2
    assert sampled_warnings({"t1": image}, classes, 0.001) == [
        "81 of 181 voxels of tumor outside the brain."
    ]


def test_a_brain_that_a_sample_misses_is_looked_at_whole():
    image = np.zeros((9, 9, 9), dtype=np.int16)
    image[5, 5, 5] = 32767
    (warning,) = sampled_warnings({"t1": image}, None, 0.001)
    assert warning.startswith("t1: 1 voxel at 32767")
