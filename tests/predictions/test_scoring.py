"""predict.py --score-only: segmentations of any tool are scored and left as they are."""

import json
import shutil

import pytest
import SimpleITK

from brats.cases.find import find_cases
from brats.files import read_table
from brats.phantom.cohort import write_cohort
from brats.scores.tables import WORST
from brats.volumes.files import read_volume, write_volume

PERFECT = {"dice": 1, "hausdorff95_mm": 0, "lesion_dice": 1, "num_missed": 0, "num_false": 0}


@pytest.fixture
def others(small_cases, tmp_path):
    """A folder with the reference of every case, as another tool might have found it."""
    for case in find_cases(small_cases, need_segmentation=True)[0]:
        shutil.copy(case.segmentation, tmp_path / f"{case.id}.nii.gz")
    return tmp_path


@pytest.fixture
def unlabelled(small_cases, ids, tmp_path_factory):
    """A copy of the cases, the first of which has no reference."""
    root = tmp_path_factory.mktemp("unlabelled") / "cases"
    shutil.copytree(small_cases, root)
    (root / ids[0] / f"{ids[0]}_seg.nii.gz").unlink()
    return root


def records(folder):
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("BraTS*.json")}
    return dict(sorted(found.items()))


def test_segmentations_of_another_tool_are_scored_and_left_alone(small_cases, ids, others, start):
    (others / "plans.json").write_text('{"networks": 3}')  # As nnU-Net writes one.
    (others / f"{ids[0]}.nii.gz").rename(others / f"{ids[0]}_pred.nii.gz")
    (others / f"{ids[1]}.nii.gz").rename(others / f"{ids[1]}-pred.nii.gz")
    before = {path.name: path.read_bytes() for path in others.iterdir()}
    result = start(small_cases, others, "--score-only")
    assert result.code == 0 and "Mean over 3 cases" in result.out
    assert {name: (others / name).read_bytes() for name in before} == before
    assert list(records(others)) == ids
    assert {(str(r["networks"]), str(r["settings"])) for r in records(others).values()} == {
        ("[]", "{}")
    }
    rows = read_table(others / "scores.csv")
    assert len(rows) == 3 * 3
    for row in rows:
        assert {name: float(row[name]) for name in PERFECT} == PERFECT
    assert len(list((others / "figures").glob("*-modalities.png"))) == 3


def test_broken_segmentations_hold_up_no_other(small_cases, ids, others, start, quick):
    broken, moved, dropped = (others / f"{case_id}.nii.gz" for case_id in ids)
    broken.write_bytes(broken.read_bytes()[:200])
    labels, geometry = read_volume(moved)
    write_volume(moved, labels[1:], geometry)
    shutil.copy(others / moved, others / "elsewhere.nii.gz")  # Of no case.
    result = start(small_cases, others, "--score-only")
    for path in (broken, moved):
        assert sum(str(path) in text and "Error: " in text for text in result.err.split("\n")) == 1
    assert f"These files in {others} fit no case of --data-root: elsewhere.nii.gz" in result.err
    assert result.code == 1 and f"2 of 3 cases failed, see above: {ids[0]}, {ids[1]}" in result.err
    assert list(records(others)) == [ids[2]]
    image = SimpleITK.ReadImage(str(dropped))
    image.SetOrigin((0.0, 0.0, 0.0))
    SimpleITK.WriteImage(image, str(dropped))
    result = start(small_cases, others, "--score-only", "--cases", ids[2])
    assert result.code == 1 and "origin (0, 0, 0)" in result.err
    assert "Copy the case's geometry." in result.err


def test_labels_of_another_edition_are_named_and_scored_if_given(small_cases, ids, others, start):
    path = others / f"{ids[0]}.nii.gz"
    labels, geometry = read_volume(path)
    write_volume(path, labels + (labels == 4) * 3, geometry)  # 4 becomes 7.
    result = start(small_cases, others, "--score-only", "--cases", ids[0])
    assert result.code == 1 and f"{path}: " in result.err and "7" in result.err
    labels = "necrosis=1", "edema=2", "enhancing=7"
    assert "--segmentation-labels necrosis=1" in result.err
    ours = ("--cases", ids[0], "--score-only", "--segmentation-labels", *labels)
    assert start(small_cases, others, *ours).code == 0
    assert {row["dice"] for row in records(others)[ids[0]]["scores"]} == {1}
    assert f'data-file="report/{ids[0]}.js"' in (others / "report.html").read_text()


def test_labels_of_an_earlier_edition_are_warned_of(tmp_path, start, quick):
    write_cohort(tmp_path / "cases", 1, seed=0, shape=(8, 72, 64), naming="2023")
    (case,), _ = find_cases(tmp_path / "cases", need_segmentation=True)
    labels, geometry = read_volume(case.segmentation)
    path = tmp_path / "out" / f"{case.id}.nii.gz"
    path.parent.mkdir()
    write_volume(path, labels + (labels == 3), geometry)
    result = start(tmp_path / "cases", path.parent, "--score-only")
    assert f"Warning: {path.name}: {(labels == 3).sum():,} voxels of label 4" in result.out
    assert "Then give --segmentation-labels necrosis=1 edema=2 enhancing=4" in result.out


def test_a_case_without_a_segmentation_counts_as_missed(small_cases, ids, others, start):
    (others / f"{ids[0]}.nii.gz").unlink()
    result = start(small_cases, others, "--score-only")
    assert result.code == 0 and "Mean over 3 cases" in result.out
    assert f"{others} has no segmentation of 1 of 3 cases, counted as missed" in result.err
    rows = read_table(others / "scores.csv")
    worst = {name: "374.0" if name.endswith("_mm") else "0.0" for name in WORST}
    for row in rows:
        assert (row | worst == row) == (row["case"] == ids[0])
    assert list(records(others)) == ids[1:]
    assert "No segmentation: counts as missed" in (others / "report.html").read_text()
    result = start(small_cases, others, "--score-only", "--ignore-missing")
    assert f"of 1 of 3 cases, ignored: {ids[0]}" in result.err
    assert {row["case"] for row in read_table(others / "scores.csv")} == set(ids[1:])


def test_a_case_without_a_reference_cannot_be_scored(unlabelled, ids, others, start, quick):
    result = start(unlabelled, others, "--score-only", "--cases", ids[0])
    assert result.code == 1 and f"Case {ids[0]} cannot be scored: " in result.err
    assert start(unlabelled, others, "--score-only").code == 0
    assert list(records(others)) == ids[1:]


def test_a_folder_without_segmentations_is_named(small_cases, tmp_path, start):
    result = start(small_cases, tmp_path / "absent", "--score-only")
    assert result.code == 1 and f"There is no folder {tmp_path}/absent" in result.err
    result = start(small_cases, tmp_path, "--score-only")
    assert result.code == 1 and f"{tmp_path} has no segmentation of a case with" in result.err
    assert list(tmp_path.iterdir()) == []


def test_own_segmentations_stay_done_after_they_are_scored(
    unlabelled, small_cases, ids, network, tmp_path, start, quick
):
    flags = ("--weights", network)
    assert start(unlabelled, tmp_path, *flags).code == 0
    assert start(small_cases, tmp_path, "--score-only").code == 0
    assert records(tmp_path)[ids[0]]["scores"]
    quick.clear()
    before = records(tmp_path)
    assert start(small_cases, tmp_path, *flags).code == 0 and quick == []
    assert records(tmp_path) == before
