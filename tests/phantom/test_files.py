"""The files of the synthetic cohort: names, folders, label values and geometry of each naming."""

import numpy as np
import pytest
import SimpleITK

from brats.cases.find import find_cases
from brats.phantom.cohort import synthesize, write_cohort
from brats.phantom.files import NAMINGS
from brats.volumes.case import read_case

SHAPE = (16, 40, 32)
GRADES = ["HGG", "HGG", "HGG", "LGG", "HGG"]
ENDS = ("flair", "t1", "t1ce", "t2", "seg")


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Five cases in each naming: `{naming: (root, folders)}`."""
    roots = {name: tmp_path_factory.mktemp(name) for name in NAMINGS}
    return {name: (root, write_cohort(root, 5, 3, SHAPE, name)) for name, root in roots.items()}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_of_2017_lie_in_grade_folders_one_case_in_four_of_low_grade(cohorts):
    root, folders = cohorts["2017"]
    ids = [f"Brats17_PHANTOM_{index:04d}_1" for index in range(5)]
    assert folders == [root / grade / name for grade, name in zip(GRADES, ids, strict=True)]
    assert names(folders[3]) == sorted(f"{ids[3]}_{end}.nii.gz" for end in ENDS)


def test_files_of_2023_have_hyphens_and_no_grade_folders(cohorts):
    root, folders = cohorts["2023"]
    assert folders == [root / f"BraTS-GLI-9000{index}-000" for index in range(5)]
    ends = ("seg", "t1c", "t1n", "t2f", "t2w")
    assert names(folders[4]) == [f"BraTS-GLI-90004-000-{end}.nii.gz" for end in ends]


@pytest.mark.parametrize(("naming", "enhancing"), [("2017", 4), ("2021", 4), ("2023", 3)])
def test_every_naming_holds_the_same_cases_in_its_own_labels(naming, enhancing, cohorts):
    cases, failures = find_cases(cohorts[naming][0], need_segmentation=True)
    assert {case.edition.name for case in cases} == {NAMINGS[naming][0]} and not failures
    cases = sorted(cases, key=lambda case: case.id[-6:])
    for index, case in enumerate(cases):
        images, classes = synthesize(SHAPE, np.random.default_rng([3, index]), index != 3)
        raw = read_case(case)
        assert np.array_equal(raw.volumes, list(images.values()))
        assert np.array_equal(raw.classes, classes)
        assert (raw.geometry.origin_mm, raw.geometry.spacing_mm) == ((0, -239, 0), (1, 1, 1))
        labels = SimpleITK.ReadImage(str(case.segmentation))
        assert labels.GetPixelID() == SimpleITK.sitkUInt8
        values = set(np.unique(SimpleITK.GetArrayViewFromImage(labels)))
        assert values == ({0, 1, 2} if index == 3 else {0, 1, 2, enhancing})


def test_most_low_grade_cases_lack_enhancing_tumor_but_not_all(tmp_path):
    write_cohort(tmp_path, 12, 0, (8, 32, 24))
    cases, _ = find_cases(tmp_path, need_segmentation=True)
    low = [read_case(case).classes for case in cases if case.grade == "LGG"]
    assert [3 in classes for classes in low] == [False, False, True]
