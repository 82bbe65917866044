"""Voxels that are not 1 mm in the plane, for the network and back."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import extract_patches
import predict
from brats.patches.file import case_file_path, read_case_file
from brats.volumes.files import read_volume, write_volume
from brats.volumes.network_input import network_input
from brats.volumes.normalization import normalize
from brats.volumes.resampling import on_case_grid, resample_case, resampling_warnings
from tests.synthetic import write_constant_network

SPACING_MM = (3, 2, 1)
COARSE = np.array([[[0, 0, 0, 0], [0, 8, 16, 0], [0, 24, 0, 0]]], dtype=np.int16)


def test_images_are_interpolated_between_the_centers_of_voxels():
    # The centers of rows of 2 mm lie at 1, 3, 5 mm, those of the new rows at 0.5, 1.5, 2.5 mm.
    position_mm = np.arange(1, 80, 2, dtype=np.float32).reshape(1, 40, 1)
    (image,), _ = resample_case([100 + position_mm.repeat(5, axis=2)], None, SPACING_MM)
    assert (image.shape, image.dtype) == ((1, 80, 5), np.float32)
    expected = 100 + np.arange(0.5, 80).reshape(80, 1)
    np.testing.assert_allclose(image[0, 8:-8], expected[8:-8] * np.ones((1, 5)), atol=0.05)


def test_the_background_stays_0_and_the_brain_within_its_values():
    (image,), classes = resample_case([COARSE], (COARSE // 8).astype(np.uint8), SPACING_MM)
    brain = np.repeat(COARSE[0] != 0, 2, axis=0)
    assert np.array_equal(image[0] != 0, brain)
    assert image[0][brain].min() >= 8 and image.max() <= 24
    assert classes.dtype == np.uint8
    assert np.array_equal(classes[0], np.repeat(COARSE[0] // 8, 2, axis=0))
    (image,), _ = resample_case([np.full((1, 6, 7), 300)], None, SPACING_MM)
    np.testing.assert_allclose(image, 300, rtol=1e-6)


def test_finer_voxels_are_averaged(rng):
    # Noise of deviation 1; the mean of four voxels has a half. Lanczos weights are close to it.
    volume = 100 + rng.normal(size=(1, 200, 200))
    (image,), _ = resample_case([volume], None, (1, 0.5, 0.5))
    assert image.shape == (1, 100, 100)
    assert image.std() == pytest.approx(0.5, abs=0.1)


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


def test_a_case_of_other_voxels_is_extracted_and_segmented(cohort, tmp_path):
    folder = next(cohort.glob("HGG/*"))
    data = shutil.copytree(folder, tmp_path / "data" / folder.name)
    for path in data.iterdir():  # Four slices of 80 x 72 voxels of 2 mm.
        volume, geometry = read_volume(path)
        coarse = replace(geometry, spacing_mm=(2.0, 2.0, 1.0), header=None)
        write_volume(path, volume[8:12, ::2, ::2], coarse)
    sentence = "voxels of 2 x 2 mm: resampled to 1 mm in the plane for the network"

    arguments = ["--data-root", str(data.parent), "--output"]
    extract_patches.main([*arguments, str(tmp_path / "patches"), "--patches-per-case", "3"])
    file = read_case_file(case_file_path(tmp_path / "patches", folder.name))
    assert file.num_patches == 3 and sentence in file.description["warnings"]

    next(data.glob("*seg*")).unlink()  # Without scores, it is faster.
    network = write_constant_network(tmp_path / "constant.keras", [0.1, 0.1, 0.2, 0.6])
    predict.main([*arguments, str(tmp_path / "out"), "--weights", str(network)])
    record = json.loads((tmp_path / "out" / f"{folder.name}.json").read_text())
    assert sentence in record["warnings"]
    labels, _ = read_volume(tmp_path / "out" / f"{folder.name}.nii.gz")
    images = [read_volume(path)[0] for path in data.iterdir()]
    # All of the brain is enhancing tumor, whose label is 4.
    assert np.array_equal(labels == 4, np.logical_or.reduce(images))
    assert np.isin(labels, (0, 4)).all()
