"""Voxels that are not 1 mm in the plane, for the network and back."""

import numpy as np
import pytest

from brats.volumes.network_input import network_input
from brats.volumes.normalization import normalize
from brats.volumes.resampling import on_case_grid, resample_case, resampling_warnings

# Voxels of 1 x 2 mm (x, y): the centers of the new rows lie a quarter before and behind the old.
SPACING_MM = (3, 2, 1)
COARSE = np.array([[[0, 0, 0, 0], [0, 8, 16, 0], [0, 24, 0, 0]]], dtype=np.int16)
FINE = np.array(
    [
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 6, 12, 0],
        [0, 12, 12, 0],
        [0, 20, 0, 0],
        [0, 24, 0, 0],
    ]
)


def test_images_are_interpolated_and_the_background_stays_0():
    (image,), classes = resample_case([COARSE], (COARSE // 8).astype(np.uint8), SPACING_MM)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[0], FINE, rtol=1e-6)
    assert classes.dtype == np.uint8
    assert np.array_equal(classes[0], np.repeat(COARSE[0] // 8, 2, axis=0))


def test_finer_voxels_are_averaged_over_the_area_of_the_new_ones():
    # Two to one: the weights 1/4, 3/4, 3/4, 1/4 about the center, of which the border cuts some.
    (image,), _ = resample_case([np.array([[[7, 7, 7, 35, 35, 35]]])], None, (1, 1, 0.5))
    # (7 * 3 + 7 * 3 + 7) / 7; (7 + 7 * 3 + 35 * 3 + 35) / 8; (35 + 35 * 3 + 35 * 3) / 7.
    np.testing.assert_allclose(image[0, 0], [7, 21, 35], rtol=1e-6)


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (5, 0.96, 1.04)])
def test_voxels_of_1_mm_are_the_same_arrays(spacing_mm):
    volumes, classes = resample_case([COARSE], COARSE, spacing_mm)
    assert volumes[0] is COARSE and classes is COARSE
    assert on_case_grid(classes, volumes) is COARSE
    assert not resampling_warnings(spacing_mm)


def test_other_voxels_are_warned_of_in_the_order_x_y():
    assert resampling_warnings((1, 2, 0.5)) == [
        "voxels of 0.5 x 2 mm: resampled to 1 mm in the plane for the network"
    ]


def test_the_network_sees_the_normalized_resampled_volumes(rng):
    volume = rng.integers(1, 500, (3, 70, 140), dtype=np.int16)
    (image,), _ = resample_case([volume], None, SPACING_MM)
    seen = network_input([volume], volume > 250, crop=True, spacing_mm=SPACING_MM)
    assert np.array_equal(seen.channels[..., 0], normalize(image))
    assert seen.classes.shape == (3, 140, 140)


def test_classes_and_probabilities_return_to_the_voxels_and_the_brain_of_the_case(rng):
    volumes = [COARSE, COARSE[:, ::-1]]
    brain = (COARSE != 0) | (COARSE[:, ::-1] != 0)
    classes = rng.integers(1, 4, COARSE.shape, dtype=np.uint8)
    _, fine = resample_case(volumes, classes, SPACING_MM)
    assert np.array_equal(on_case_grid(fine, volumes), np.where(brain, classes, 0))
    found = on_case_grid(np.eye(4, dtype=np.float32)[fine], volumes)
    assert found.dtype == np.float32
    assert np.array_equal(found.argmax(axis=-1), np.where(brain, classes, 0))
    assert (found.sum(axis=-1) == 1).all()
