"""Tables, box plots and report: derived from the records of a folder every time."""

import re
import shutil

import pytest

from brats.cases.find import find_cases
from brats.files import read_table
from tests.synthetic import contents

DERIVED = ("scores.csv", "summary.csv", "scores.png", "report.html", "volumes.csv")


@pytest.fixture
def arguments(cohort, run):
    """The flags that made `predictions`: of all cases."""
    return ["--run-dir", run, "--cases", *(path.name for path in sorted(cohort.glob("*/*")))]


@pytest.fixture
def output(predictions, tmp_path):
    return shutil.copytree(predictions, tmp_path / "out")


@pytest.fixture
def root(cohort, tmp_path):
    return shutil.copytree(cohort, tmp_path / "cases")


def test_every_case_has_pictures_a_row_per_region_and_a_place_in_the_report(predictions, cohort):
    cases = [case.id for case in find_cases(cohort, need_segmentation=True)[0]]
    regions = ("whole", "core", "enhancing")
    rows = read_table(predictions / "scores.csv")
    assert [(row["case"], row["region"]) for row in rows] == [
        (case_id, region) for case_id in cases for region in regions
    ]
    assert {row["cases"] for row in read_table(predictions / "summary.csv")} == {"4"}
    pictures = [path.name.rpartition("-")[0] for path in (predictions / "figures").iterdir()]
    assert sorted(pictures) == sorted(2 * cases)
    report = (predictions / "report.html").read_text()
    assert re.findall('<tr data-case="([^"]*)"', report) == cases


def test_all_that_is_derived_can_be_deleted_and_made_again(cohort, output, arguments, start):
    expected = contents(output)
    assert set(DERIVED) < expected.keys()
    for name in DERIVED:
        (output / name).unlink()
    shutil.rmtree(output / "report")
    assert start(cohort, output, *arguments).code == 0
    assert contents(output) == expected


def test_cases_of_different_settings_in_one_folder_are_warned_of(cohort, output, arguments, start):
    assert "Warning" not in start(cohort, output, *arguments).out
    more = ("--cases", arguments[-1], "--flips", "--overwrite")
    assert "different settings" in start(cohort, output, *arguments[:2], *more).out


def test_records_without_a_volume_copies_and_hidden_files_are_in_no_table(
    cohort, output, arguments, start
):
    case_id, other = arguments[-1], arguments[-2]
    record = (output / f"{case_id}.json").read_text()
    for name in (f"{case_id}.old.json", f"._{case_id}.json", ".writing-a-1-b.json"):
        (output / name).write_text(record if "old" in name else "{")
    (output / f"{case_id}.nii.gz").unlink()
    assert start(cohort, output, *arguments[:2], "--cases", other).code == 0
    assert case_id not in {row["case"] for row in read_table(output / "scores.csv")}


def test_a_failed_case_is_in_the_report_and_its_older_scores_are_in_no_table(
    root, output, arguments, start
):
    case = find_cases(root, need_segmentation=True)[0][1]
    case.images["t1"].write_bytes(b"damaged")
    result = start(root, output, *arguments)
    assert result.code == 1 and f"1 of 4 cases failed, see above: {case.id}." in result.err
    assert len({row["case"] for row in read_table(output / "scores.csv")} - {case.id}) == 3
    assert {row["cases"] for row in read_table(output / "summary.csv")} == {"3"}
    report = (output / "report.html").read_text()
    assert re.findall('<tr class="failed" data-case="([^"]*)"', report) == [case.id]


def test_a_case_that_only_the_report_cannot_read_fails(cohort, output, arguments, start):
    case_id, other = arguments[-1], arguments[-2]
    (output / f"{case_id}.nii.gz").write_bytes(b"damaged")
    result = start(cohort, output, *arguments[:2], "--cases", other)
    assert result.code == 1
    assert f"Error: {case_id} is not in the report: " in result.err
    assert f"1 of 2 cases failed, see above: {case_id}." in result.err


def test_the_originals_weights_segment_a_case_without_a_reference(root, fixtures, tmp_path, start):
    case = find_cases(root, need_segmentation=True)[0][0]
    case.segmentation.unlink()
    weights = fixtures / "resunet_8_filters.hdf5"
    assert start(root, tmp_path / "new", "--weights", weights, "--cases", case.id).code == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"{case.id}.json", f"{case.id}.nii.gz", "figures", "report", "report.html",
        "volumes.csv",
    ]  # fmt: skip


def test_without_scores_older_tables_and_plots_are_removed(root, output, arguments, start):
    for path in root.rglob("*_seg.nii.gz"):
        path.unlink()
    assert start(root, output, *arguments).code == 0
    assert contents(output).keys() & set(DERIVED) == {"report.html", "volumes.csv"}
