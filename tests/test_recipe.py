"""The tuned recipe through the three commands: what lies in the files, and what they say of it."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import extract_patches
import predict
import train
from brats.cases.find import find_cases
from brats.flags import as_typed
from brats.patches.file import read_settings
from brats.volumes.case import read_case
from brats.volumes.network_input import PATCH_SIZE, crop_window
from brats.volumes.normalization import BACKGROUND, normalize
from config import TUNED_EXTRACTION, TUNED_PREDICTION, TUNED_TRAINING

TINY = ("--base-filters", "2", "--depth", "1", "--epochs", "1", "--steps-per-epoch", "2")


@pytest.fixture(scope="module")
def patches(cohort, tmp_path_factory):
    """A patch file of 16 patches per case."""
    path = tmp_path_factory.mktemp("recipe") / "patches.h5"
    paths = ["--data-root", str(cohort), "--output", str(path)]
    extract_patches.main([*paths, "--recipe", "tuned", "--patches-per-case", "16"])
    return path


def test_the_page_of_the_method_lists_the_recipe():
    page = (Path(__file__).parents[1] / "docs" / "method.md").read_text(encoding="utf-8")
    table = page.split("## The tuned recipe")[1].split("## ")[0]
    listed = [text for text in table.split("`") if text.startswith("--") and "recipe" not in text]
    parts = (TUNED_EXTRACTION, TUNED_TRAINING, TUNED_PREDICTION)
    typed = " ".join(as_typed(*item) for part in parts for item in part.items())
    # Without --help, which the text before the table names.
    assert " ".join(listed).removeprefix("--help ") == typed


def test_every_stage_says_what_it_did(patches, cohort, tmp_path):
    assert read_settings(patches)["centers"] == TUNED_EXTRACTION["centers"] == "balanced"

    run_dir, output = str(tmp_path / "run"), str(tmp_path / "out")
    train.main(["--patches", str(patches), "--run-dir", run_dir, "--recipe", "tuned", *TINY])
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["settings"].items() >= {"recipe": "tuned", **TUNED_TRAINING}.items()
    assert record["extraction"]["centers"] == "balanced"

    paths = ["--run-dir", run_dir, "--data-root", str(cohort), "--output", output]
    predict.main([*paths, "--recipe", "tuned"])
    record = json.loads((tmp_path / "out" / "config.json").read_text())
    assert record["settings"].items() >= {"recipe": "tuned", **TUNED_PREDICTION}.items()
    assert record["networks"] == [str(tmp_path / "run" / "last.keras")]


def test_patches_are_those_around_their_centers_and_background_beyond_the_window(patches, cohort):
    cases = find_cases(cohort, need_segmentation=True)[0]
    num_beyond = 0
    with h5py.File(patches) as file:
        columns = (file["train"][name] for name in ("images", "labels", "case", "center"))
        for images, labels, index, (z, y, x) in zip(*columns, strict=True):
            raw = read_case(cases[index])
            rows, columns = crop_window(raw.volumes, PATCH_SIZE)[1:]
            channels = [
                normalize(volume[z : z + 1], rows, columns)[0, rows, columns]
                for volume in raw.volumes
            ]
            # The patch, in the window's slice padded by half a patch.
            inside = np.s_[y - rows.start :, x - columns.start :]
            expected = np.pad(
                np.stack(channels, axis=-1),
                ((64, 64), (64, 64), (0, 0)),
                constant_values=BACKGROUND,
            )[inside][:128, :128]
            np.testing.assert_array_equal(images, expected)
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
