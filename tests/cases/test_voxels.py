"""Each error and warning about the voxels of a case, and what just gives none."""

import numpy as np
import pytest

from brats.cases.voxels import (
    Faults,
    apart_warnings,
    case_faults,
    cut_off_warnings,
    find_faults,
    flat_end_warnings,
    image_errors,
    intensity_warnings,
    tumor_warnings,
)

VOXEL_ML = 0.01  # Of the phantom, whose brain then has about 800 ml.
MASKED = "cut off, or masked more closely than other images"
STRETCHED = "1 voxel at 32767, the largest value of int16: clipped, or stretched to fill the type"


def ramp(size=10_000):
    """Returns the values 1000, 1001, ... once each, as in an image that was not processed."""
    return np.arange(1000, 1000 + size, dtype=np.int16)


def ellipsoid(shape=(18, 20, 22)):
    """Returns the mask of an ellipsoid that leaves a plane free on every side."""
    radii = np.array(shape).reshape(3, 1, 1, 1) / 2 - 1
    offsets = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    return ((offsets / radii) ** 2).sum(axis=0) <= 1


def changed(values, place, value):
    values[place] = value
    return values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (ramp(), []),
        (changed(ramp(), 5, 32767), [STRETCHED]),
        (
            np.array([1, 2, 3] + 10 * [255], dtype=np.uint8),
            ["10 voxels at 255, the largest value of uint8: clipped"],
        ),
        (
            changed(np.arange(200_000.0), slice(20), 200_000),  # One in ten thousand.
            ["20 voxels at 200000, its largest value: clipped"],
        ),
        (changed(np.arange(200_000.0), slice(19), 200_000), []),
        (  # 1, 2, ... 19 and one negative: 5 %. Then two in twenty.
            changed(np.arange(1.0, 21), 0, -1),
            ["1 voxel negative; expected intensities of at least 0"],
        ),
        (
            changed(np.arange(1.0, 21), slice(2), [-1, -2]),
            [
                "the brain has negative values: already normalized. Give the image before that, if "
                "you can"
            ],
        ),
    ],
)
def test_clipped_and_normalized_intensities_are_warnings(values, expected):
    assert intensity_warnings(values) == expected


@pytest.mark.parametrize(
    ("values", "num_voxels", "voxel_ml", "error"),
    [
        (ramp(89), 100, 0.001, None),
        (ramp(91), 100, 0.001, "less than 10 % of the volume is 0: not skull-stripped"),
        # 250,000 voxels of 2 x 2 x 2 mm are 2,000 ml.
        (np.arange(250_000), 10**6, 0.008, None),
        (np.arange(250_001), 10**6, 0.008, "over 2,000 ml are not 0, which is more than a brain"),
        (
            changed(ramp(2002), slice(1001), 3),
            10**4,
            0.001,
            "3 values in 50.1 % of the brain: a mask",
        ),
        (np.full(1001, 100), 10**4, 0.001, "one value in 100.0 % of the brain: a mask"),
        (changed(ramp(2003), slice(999), 3), 10**4, 0.001, None),  # With two other values, 1,001.
        (changed(-ramp(10), 0, 1), 100, 0.001, None),  # 9 of 10 are negative.
        (-ramp(10), 100, 0.001, "the brain is darker than the background: inverted"),
    ],
)
def test_heads_masks_and_inverted_intensities_are_errors(values, num_voxels, voxel_ml, error):
    errors = image_errors(values, num_voxels, voxel_ml)
    assert errors == [] if error is None else errors[0].startswith(error)


@pytest.mark.parametrize(
    ("voxel_ml", "num_errors", "num_warnings"), [(0.2, 0, 0), (0.1, 0, 1), (1e-4, 1, 0)]
)
def test_a_brain_of_an_absurd_size_is_an_error_and_of_an_unlikely_one_a_warning(
    voxel_ml, num_errors, num_warnings
):
    brain = ellipsoid()
    assert np.count_nonzero(brain) == 3016  # 603, 302 and 0.3 ml.
    image = np.zeros(brain.shape, np.int16)
    image[brain] = ramp(3016)
    faults = case_faults({"t1": image}, None, voxel_ml)
    assert (len(faults.errors), len(faults.warnings)) == (num_errors, num_warnings)
    assert all("voxel size" in sentence for sentence in faults.errors + faults.warnings)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (ramp(990), []),
        (ramp(980), [f"one value, 0, in 2.0 % of the brain: {MASKED}"]),
        (changed(ramp(1000), slice(100, 120), 7), ["one value, 7, in 2.0 % of the brain: cut off"]),
        (changed(ramp(1000), slice(100, 120), range(1, 21)), []),  # Many low values.
        (changed(ramp(1000), slice(100, 200), 1500), []),  # One common value, which is high.
    ],
)
def test_an_image_with_one_low_value_in_part_of_the_brain_is_cut_off(values, expected):
    assert cut_off_warnings(values, brain_size=1000) == expected


def test_a_share_is_counted_in_the_whole_image_and_not_in_the_sample():
    # Of 400,000 voxels every fourth is in the sample.
    values = np.full(400_000, 500, dtype=np.int16)
    values[:8000:4] = 3  # 2,000: 2 % of the sample, 0.5 % of the image.
    assert cut_off_warnings(values, brain_size=400_000) == []
    values[1:8000:4] = values[2:8000:4] = 3  # 6,000.
    (warning,) = cut_off_warnings(values, brain_size=400_000)
    assert "one value, 3, in 1.5 % of the brain" in warning


@pytest.mark.parametrize(("axis", "name", "plane"), [(0, "z", 5), (1, "y", 7), (2, "x", 9)])
def test_a_brain_that_ends_in_a_plane_is_cut_off(axis, name, plane):
    # Near the middle: the plane is nearly the largest section.
    brain = ellipsoid((34, 36, 38))
    assert flat_end_warnings(brain) == []
    assert flat_end_warnings(ellipsoid()[8:12]) == []  # A few thick slices.
    within = brain.copy()
    np.moveaxis(within, axis, 0)[:plane] = False
    touching = np.moveaxis(np.moveaxis(brain, axis, 0)[plane:], 0, axis)
    last = touching.shape[axis] - 1
    text = f"The brain ends in a flat plane at {name} = {{}}, {{}}: cut off."
    side = "a side of the volume"
    assert flat_end_warnings(within) == [text.format(plane, "within the volume")]
    assert flat_end_warnings(touching) == [text.format(0, side)]
    assert flat_end_warnings(np.flip(touching, axis)) == [text.format(last, side)]


def test_a_ring_around_the_brain_is_a_warning():
    brain = ellipsoid((34, 36, 38))
    assert apart_warnings(brain) == []
    brain[8] = False
    assert "skull-stripped" in apart_warnings(brain)[0]


def test_tumor_outside_the_brain_and_no_tumor_are_warnings():
    brain = np.array([[[1, 1, 0, 0]]], dtype=bool)
    assert tumor_warnings(brain, np.array([[[1, 3, 0, 0]]])) == []
    assert tumor_warnings(brain, np.array([[[0, 1, 3, 2]]])) == [
        "2 of 3 voxels of tumor outside the brain."
    ]
    assert tumor_warnings(brain, np.zeros((1, 1, 4))) == ["The segmentation holds no tumor."]


def test_one_warning_names_all_images_that_it_is_about():
    brain = ellipsoid()
    image = np.zeros(brain.shape, np.int16)
    image[brain] = ramp(np.count_nonzero(brain))
    stretched = changed(image.copy(), (8, 9, 10), 32767)
    images = {"flair": stretched, "t1": image, "t2": stretched}
    assert case_faults(images, None, 0.2) == Faults(warnings=[f"flair, t2: {STRETCHED}."])


def test_with_an_error_there_are_no_warnings():
    head = ramp(18 * 20 * 22).reshape(18, 20, 22)
    faults = case_faults({"t1": head, "t2": changed(head.copy(), slice(0, 1), 0)}, None, 0.1)
    (error,) = faults.errors  # One plane of 18 is 5.6 %.
    assert error.startswith("t1, t2: less than 10 %") and faults.warnings == []


def test_all_voxels_are_checked_only_if_the_sample_gives_a_warning(phantom):
    images = phantom[0]  # Their sample is 24 x 36 x 32.
    t1 = images["t1"]
    z, y, x = np.argwhere(t1)[len(t1) // 2]
    odd = changed(t1.copy(), (z, y | 1, x | 1), 32767)  # Not in the sample.
    assert not find_faults(images | {"t1": odd}, None, VOXEL_ML)
    assert find_faults(images | {"t1": odd}, None, VOXEL_ML, every_voxel=True).warnings
    limit = np.percentile(t1[t1 != 0], 90).astype(int)
    clipped = np.minimum(t1, limit)
    number = np.count_nonzero(clipped == limit)
    (warning,) = find_faults(images | {"t1": clipped}, None, VOXEL_ML).warnings
    assert warning.startswith(f"t1: {number:,} voxels at {limit:g}, its largest")


def test_a_brain_that_is_not_in_the_sample_is_checked():
    image = np.zeros((9, 64, 64), dtype=np.int16)
    image[5, 5, 5] = 32767
    assert find_faults({"t1": image}, None, 1000).warnings == [f"t1: {STRETCHED}."]
