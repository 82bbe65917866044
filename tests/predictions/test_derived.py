"""Tables, box plots and report: derived from the records of a folder every time."""

import itertools
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


def test_every_case_has_pictures_a_row_per_region_and_a_place_in_the_report(predictions, cohort):
    cases = [case.id for case in find_cases(cohort, need_segmentation=True)[0]]
    rows = read_table(predictions / "scores.csv")
    regions = ("whole", "core", "enhancing")
    assert [(row["case"], row["region"]) for row in rows] == list(itertools.product(cases, regions))
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


def test_a_case_that_only_the_report_cannot_read_fails(cohort, output, arguments, start):
    case_id, other = arguments[-1], arguments[-2]
    (output / f"{case_id}.nii.gz").write_bytes(b"damaged")
    result = start(cohort, output, *arguments[:2], "--cases", other)
    assert result.code == 1
    assert f"Error: {case_id} is not in the report: " in result.err
    assert f"1 of 2 cases failed, see above: {case_id}." in result.err


def test_the_originals_weights_segment_a_case_without_a_reference(
    small_cases, ids, fixtures, tmp_path, start
):
    folder = shutil.copytree(small_cases / ids[0], tmp_path / "cases" / ids[0])
    (folder / f"{ids[0]}_seg.nii.gz").unlink()
    weights = fixtures / "resunet_8_filters.hdf5"
    result = start(folder.parent, tmp_path / "new", "--weights", weights)
    assert result.code == 0 and "Segmentations and pictures are in" in result.out
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"{ids[0]}.json", f"{ids[0]}.nii.gz", "figures", "report", "report.html", "volumes.csv"
    ]  # fmt: skip
