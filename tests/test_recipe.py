"""The tuned recipe through the three scripts: what is in the files, and what they record."""

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
from brats.patches.file import read_case_file
from brats.volumes.case import read_case
from brats.volumes.network_input import crop_window
from brats.volumes.normalization import BACKGROUND, normalize
from config import TUNED_EXTRACTION, TUNED_PREDICTION, TUNED_TRAINING

TINY = ("--base-filters", "2", "--depth", "1", "--epochs", "1", "--steps-per-epoch", "2")


@pytest.fixture(scope="module")
def tuned_patches(cohort, tmp_path_factory):
    """The folder of the patch files of the cohort, 16 patches per case."""
    folder = tmp_path_factory.mktemp("recipe")
    paths = ["--data-root", str(cohort), "--output", str(folder)]
    extract_patches.main([*paths, "--recipe", "tuned", "--patches-per-case", "16"])
    return folder


def test_the_page_of_the_method_lists_the_recipe():
    page = (Path(__file__).parents[1] / "docs" / "method.md").read_text(encoding="utf-8")
    table = page.split("## The tuned recipe")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    listed = [text for row in rows for text in row.split("`") if text.startswith("--")]
    parts = (TUNED_EXTRACTION, TUNED_TRAINING, TUNED_PREDICTION)
    typed = " ".join(as_typed(*item) for part in parts for item in part.items())
    assert " ".join(listed).removeprefix("--recipe tuned ") == typed


def test_every_stage_records_the_recipe(tuned_patches, cohort, tmp_path, monkeypatch):
    for path in tuned_patches.iterdir():
        assert read_case_file(path).description["centers"] == "balanced"
    run, output = tmp_path / "run", tmp_path / "out"
    patches = ["--patches", str(tuned_patches)]
    train.main([*patches, "--run-dir", str(run), "--recipe", "tuned", *TINY])
    record = json.loads((run / "config.json").read_text())
    assert record["settings"].items() >= {"recipe": "tuned", **TUNED_TRAINING}.items()
    assert record["patches"]["centers"] == "balanced"
    monkeypatch.setattr(predict, "write_derived", lambda *_: ("", {}))
    paths = ["--run-dir", str(run), "--data-root", str(cohort), "--output", str(output)]
    predict.main([*paths, "--recipe", "tuned"])
    (path,) = output.glob("*.json")
    record = json.loads(path.read_text())
    settings = {name: value for name, value in TUNED_PREDICTION.items() if name != "checkpoint"}
    assert record["settings"].items() >= settings.items()
    assert [network["path"] for network in record["networks"]] == [str(run / "last.keras")]


def test_patches_are_those_around_their_centers_and_background_beyond_the_window(
    tuned_patches, cohort
):
    num_beyond = 0
    for case in find_cases(cohort, need_segmentation=True)[0]:
        raw = read_case(case)
        rows, columns = crop_window(raw.volumes)[1:]
        with h5py.File(tuned_patches / f"{case.id}.h5") as file:
            stored = [file[name][:] for name in ("images", "labels", "center")]
        for image, labels, (z, y, x) in zip(*stored, strict=True):
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
            np.testing.assert_array_equal(image, expected)
            classes = np.pad(raw.classes[z, rows, columns], 64)[inside][:128, :128]
            assert np.array_equal(labels, classes)
            num_beyond += y - 64 < rows.start or x + 64 > columns.stop
    assert num_beyond > 5


def test_half_and_more_of_the_patches_are_around_tumor(tuned_patches):
    counts = np.zeros(4, dtype=int)
    for path in tuned_patches.iterdir():
        with h5py.File(path) as file:
            counts += np.bincount(file["labels"][:, 64, 64], minlength=4)
    # Of 16 of each of four cases, four for each class of tumor; one case has none enhancing.
    assert counts.sum() == 64 and counts[1] >= 16 and counts[2] >= 16 and counts[3] >= 12
