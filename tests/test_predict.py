"""predict.py with a constant network, and scoring what other tools have written."""

import csv
import re
import shutil

import numpy as np
import pytest

import predict
from brats.cases import find_cases
from brats.errors import exit_code
from brats.volumes import read_volume, write_volume
from tests.synthetic import write_constant_network

TUMOR = ("necrosis", "edema", "enhancing")
PERFECT = {"dice": 1, "hausdorff95_mm": 0, "lesion_dice": 1, "num_missed": 0, "num_false": 0}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network that gives every pixel 0.5 of enhancing, 0.3 of necrosis and 0.1 of the others."""
    path = tmp_path_factory.mktemp("network") / "constant.keras"
    return write_constant_network(path, [0.1, 0.3, 0.1, 0.5])


def run(cohort, output, *more):
    return exit_code(
        lambda: predict.main(["--data-root", str(cohort), "--output", str(output), *more])
    )


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def others(cohort, tmp_path):
    """A folder with the ground truth of every case, as another tool might have found it."""
    for case in find_cases(cohort, need_segmentation=True):
        shutil.copy(case.segmentation, tmp_path / f"{case.id}.nii.gz")
    return tmp_path


def test_segmentations_of_another_tool_are_scored_and_left_alone(cohort, others, capsys):
    before = {path.name: path.read_bytes() for path in others.glob("*.nii.gz")}
    assert run(cohort, others, "--score-only") == 0
    assert {path.name: path.read_bytes() for path in others.glob("*.nii.gz")} == before
    rows = table(others / "scores.csv")
    assert len(rows) == 4 * 3
    for row in rows:
        assert {name: float(row[name]) for name in PERFECT} == PERFECT
    assert not (others / "config.json").exists()
    assert len(list((others / "figures").glob("*.png"))) >= 4
    assert "Mean over 4 cases" in capsys.readouterr().out


def test_a_broken_segmentation_is_told_and_the_others_are_scored(cohort, others, capsys):
    assert run(cohort, others, "--score-only") == 0
    capsys.readouterr()
    ids = sorted(path.name.removesuffix(".nii.gz") for path in others.glob("*.nii.gz"))
    torn, moved = (others / f"{ids[index]}.nii.gz" for index in (1, 2))
    torn.write_bytes(torn.read_bytes()[:200])
    labels, geometry = read_volume(moved)
    write_volume(moved, labels[1:], geometry)
    assert run(cohort, others, "--score-only") == 1
    error = capsys.readouterr().err
    for path in (torn, moved):
        assert sum(str(path) in line and "Error: " in line for line in error.splitlines()) == 1
    assert f"2 of 4 cases failed, see above: {ids[1]}, {ids[2]}." in error.splitlines()[-1]
    # Their scores of the first time are gone from the tables.
    assert {row["case"] for row in table(others / "scores.csv")} == {ids[0], ids[3]}
    assert {row["cases"] for row in table(others / "summary.csv")} == {"2"}
    report = (others / "report.html").read_text()
    assert re.findall('<tr class="failed" data-case="([^"]*)"', report) == [ids[1], ids[2]]


def test_a_case_asked_for_without_a_segmentation_fails(cohort, others, capsys):
    ids = sorted(path.name.removesuffix(".nii.gz") for path in others.glob("*.nii.gz"))
    missing = others / f"{ids[0]}.nii.gz"
    missing.unlink()
    assert run(cohort, others, "--score-only") == 0  # Not asked for: not missed.
    assert run(cohort, others, "--score-only", "--cases", *ids[:2]) == 1
    assert f"Case {ids[0]} has no segmentation {missing}" in capsys.readouterr().err


def test_a_folder_without_segmentations_is_told(cohort, tmp_path, capsys):
    assert run(cohort, tmp_path, "--score-only") == 1
    error = capsys.readouterr().err
    assert f"{tmp_path} has no segmentation of a case with ground truth" in error
    assert list(tmp_path.iterdir()) == []


def test_a_case_without_ground_truth_cannot_be_scored(cohort, others, tmp_path_factory, capsys):
    root = tmp_path_factory.mktemp("unlabelled")
    shutil.copytree(cohort, root, dirs_exist_ok=True)
    case = find_cases(root, need_segmentation=True)[0]
    case.segmentation.unlink()
    assert run(root, others, "--score-only", "--cases", case.id) == 1
    assert f"Case {case.id} cannot be scored: {case.folder} has no" in capsys.readouterr().err
    assert run(root, others, "--score-only") == 0
    assert case.id not in {row["case"] for row in table(others / "scores.csv")}


def test_probabilities_lie_where_the_case_lies_one_volume_per_class(cohort, network, tmp_path):
    case = find_cases(cohort, need_segmentation=False)[0]
    arguments = ["--weights", str(network), "--cases", case.id, "--probabilities"]
    assert run(cohort, tmp_path, *arguments) == 0
    flair, geometry = read_volume(case.images["flair"])
    assert len(list((tmp_path / "probabilities").iterdir())) == 3
    for name, expected in zip(TUMOR, (0.3, 0.1, 0.5), strict=True):
        volume, place = read_volume(tmp_path / "probabilities" / f"{case.id}-{name}.nii.gz")
        assert volume.dtype == np.float32 and place.is_close_to(geometry)
        np.testing.assert_allclose(volume[flair != 0], expected, rtol=0, atol=1 / 8192 + 1e-6)
        assert volume[0, 0, 0] == 0


def test_what_is_mended_and_averaged_is_in_the_volume_and_in_the_record(cohort, network, tmp_path):
    case = find_cases(cohort, need_segmentation=False)[0]
    arguments = ["--weights", str(network), "--cases", case.id]
    mending = ["--min-enhancing-voxels", "99999999", "--flips", "--fill-holes"]
    assert run(cohort, tmp_path / "plain", *arguments) == 0
    assert run(cohort, tmp_path / "mended", *arguments, *mending) == 0
    volumes = [
        read_volume(tmp_path / folder / f"{case.id}.nii.gz")[0] for folder in ("plain", "mended")
    ]
    assert set(np.unique(volumes[0])) == {0, 4}
    np.testing.assert_array_equal(volumes[1], np.where(volumes[0] == 4, 1, 0))
    record = (tmp_path / "mended" / "config.json").read_text()
    assert '"min_enhancing_voxels": 99999999' in record and '"flips": true' in record


def test_mending_that_leaves_nothing_is_no_error(cohort, network, tmp_path):
    case = find_cases(cohort, need_segmentation=False)[0]
    arguments = ["--weights", str(network), "--cases", case.id]
    assert run(cohort, tmp_path, *arguments, "--min-lesion-voxels", "99999999") == 0
    assert not read_volume(tmp_path / f"{case.id}.nii.gz")[0].any()
    assert {row["dice"] for row in table(tmp_path / "scores.csv")} == {"0.0"}
