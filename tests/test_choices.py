"""What the patches are, beside the published choice: from the extraction to the prediction."""

import h5py
import numpy as np
import pytest

import extract_patches
import train
from brats.cases import find_cases
from brats.errors import InputError
from brats.normalization import BACKGROUND, NORMALIZATIONS, normalize_by_brain
from brats.patch_file import read_settings
from brats.patches import PATCH_SIZE
from brats.volumes import crop_window, read_case
from engine.network_files import read_network_settings
from engine.networks import normalization_of, read_networks
from engine.segmenting import build_segmenter
from engine.weights import load_weights
from model import build_resunet
from tests.synthetic import write_constant_network

CHOICES = ["--centers", "balanced", "--normalization", "volume"]


@pytest.fixture(scope="module")
def patches(cohort, tmp_path_factory):
    """A patch file of 16 patches per case, balanced and normalized by the volume."""
    path = tmp_path_factory.mktemp("choices") / "patches.h5"
    paths = ["--data-root", str(cohort), "--output", str(path)]
    extract_patches.main([*paths, "--patches-per-case", "16", *CHOICES])
    return path


def test_the_file_says_what_was_chosen(patches):
    settings = read_settings(patches)
    assert settings["centers"] == "balanced"
    assert settings["normalization"] == NORMALIZATIONS["volume"]


def test_patches_are_those_around_their_centers_and_background_beyond_the_window(patches, cohort):
    cases = find_cases(cohort, need_segmentation=True)
    num_beyond = 0
    with h5py.File(patches) as file:
        columns = (file["train"][name] for name in ("images", "labels", "case", "center"))
        for images, labels, index, (z, y, x) in zip(*columns, strict=True):
            raw = read_case(cases[index])
            rows, columns = crop_window(raw.volumes, PATCH_SIZE)[1:]
            channels = [normalize_by_brain(volume)[z, rows, columns] for volume in raw.volumes]
            # The patch, in the window's slice padded by half a patch.
            inside = np.s_[y - rows.start :, x - columns.start :]
            expected = np.pad(
                np.stack(channels, axis=-1),
                ((64, 64), (64, 64), (0, 0)),
                constant_values=BACKGROUND,
            )[inside][:128, :128]
            np.testing.assert_allclose(images, expected, rtol=0, atol=1e-6)
            classes = np.pad(raw.classes[z, rows, columns], 64)[inside][:128, :128]
            assert np.array_equal(labels, classes)
            num_beyond += y - 64 < rows.start or x + 64 > columns.stop
    assert num_beyond > 5


def test_half_and_more_of_the_patches_are_around_tumor(patches):
    with h5py.File(patches) as file:
        middles = file["train/labels"][:, 64, 64]
    # Of 16 of each of three cases, four for each class of tumor; one case has none enhancing.
    counts = [np.count_nonzero(middles == index) for index in (1, 2, 3)]
    assert min(counts[:2]) >= 12 and counts[2] >= 8


def test_the_network_keeps_its_normalization_and_is_shown_cases_by_it(patches, cohort, tmp_path):
    run_dir = tmp_path / "run"
    small = ["--base-filters", "2", "--depth", "1", "--epochs", "1", "--steps-per-epoch", "1"]
    train.main(["--patches", str(patches), "--run-dir", str(run_dir), *small])
    path = run_dir / "last.keras"
    assert read_network_settings(path)["normalization"] == "volume"
    (network,) = read_networks([path], build_resunet).values()
    assert normalization_of(network) == "volume"
    raw = read_case(find_cases(cohort, need_segmentation=True)[0])
    channels = build_segmenter([network], 2).prepare(raw)
    for index, volume in enumerate(raw.volumes):
        assert np.array_equal(channels[..., index], normalize_by_brain(volume))


def test_training_does_not_start_from_a_network_that_saw_other_images(tmp_path):
    network = build_resunet((None, None, 4), base_filters=2, depth=1, normalization="volume")
    network.save(tmp_path / "volume.keras")
    load_weights(network, tmp_path / "volume.keras")
    other = build_resunet((None, None, 4), base_filters=2, depth=1)
    with pytest.raises(
        InputError, match=r"volume\.keras was .* by volume; the patches are .* slice"
    ):
        load_weights(other, tmp_path / "volume.keras")


def test_networks_that_see_cases_differently_are_not_averaged(tmp_path):
    paths = [write_constant_network(tmp_path / "slice.keras", [0.1, 0.2, 0.3, 0.4])]
    other = build_resunet((None, None, 4), base_filters=2, depth=1, normalization="volume")
    other.save(tmp_path / "volume.keras")
    paths.append(tmp_path / "volume.keras")
    with pytest.raises(InputError, match=r"volume\.keras was .* by volume, and .*slice\.keras by"):
        read_networks(paths, build_resunet)
