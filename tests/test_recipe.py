"""The tuned recipe through the three scripts: what is in the files, and what they record."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import extract_patches
import predict
import train
from brats.flags import as_typed
from brats.patches.file import read_case_file
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
    monkeypatch.setattr("brats.report.derived.write_derived", lambda *_: ("", {}))
    paths = ["--run-dir", str(run), "--data-root", str(cohort), "--output", str(output)]
    predict.main([*paths, "--recipe", "tuned"])
    (path,) = output.glob("*.json")
    record = json.loads(path.read_text())
    settings = {name: value for name, value in TUNED_PREDICTION.items() if name != "checkpoint"}
    assert record["settings"].items() >= settings.items()
    assert [network["path"] for network in record["networks"]] == [str(run / "last.keras")]


def test_half_and_more_of_the_patches_are_around_tumor(tuned_patches):
    counts = np.zeros(4, dtype=int)
    for path in tuned_patches.iterdir():
        with h5py.File(path) as file:
            counts += np.bincount(file["labels"][:, 64, 64], minlength=4)
    # Of 16 of each of four cases, four for each class of tumor; one case has none enhancing.
    assert counts.sum() == 64 and counts[1] >= 16 and counts[2] >= 16 and counts[3] >= 12
