"""Which cases are visits of one patient, by id, by folder, and by a table."""

import pytest

from brats.cases.find import find_cases
from brats.errors import InputError
from tests.cases.folders import NEW, OLD, ids, touch, touch_case
from tests.synthetic import make_case


@pytest.mark.parametrize(
    ("case_id", "patient"),
    [
        ("UPENN-GBM-00003_11", "UPENN-GBM-00003"),
        ("00005-101", "00005"),
        ("site_12_3", "site_12"),
        ("100010_time1", "100010"),
        ("p7-week-000-2", "p7"),
        ("p7_20130405", "p7"),
        ("TCGA-02-0006_1996.08.23", "TCGA-02-0006"),
        ("sub-01_ses-preop", "sub-01"),
        # The last number is the patient's.
        ("TCGA-02-0006", None),
        ("BraTS2021_00001", None),
        ("BraTS20_Training_001", None),
        ("BRATS_001", None),
        ("sub-01", None),
        ("UCSF-PDGM-0004", None),
        ("Brats18_2013_20_1", None),
        ("Brats17-00005-101", None),
        ("week-044", None),
        ("smith", None),
    ],
)
def test_the_patient_follows_from_the_id(case_id, patient):
    assert make_case(case_id).patient == (patient or case_id)


def test_the_pattern_of_the_edition_comes_first():
    assert make_case("patient-001", edition="2023").patient == "patient-001"  # No visit.
    assert make_case("p7_week-04", edition="2023").patient == "p7"


def test_cases_in_a_patients_folder_are_named_by_it_and_stay_together(tmp_path):
    for patient in ("Patient 7", "Patient 8"):
        for visit in ("before", "after"):
            touch(*(tmp_path / patient / visit / f"{name[1:]}.nii.gz" for name in OLD))
    cases, _ = find_cases(tmp_path, need_segmentation=True)
    assert ids(cases) == [f"Patient {n}_{visit}" for n in (7, 8) for visit in ("after", "before")]
    assert [case.patient for case in cases] == ["Patient 7"] * 2 + ["Patient 8"] * 2


@pytest.mark.parametrize(
    ("folders", "case_ids", "patients"),
    [
        ("P1/MR20190101 P1/1 P2/MR20190201", None, "P1 P1 P2"),
        ("P1/pre P1/post P2/pre 001/1 001/2 002/1", None, "P1 P1 P2 001 001 002"),
        ("P1/1/anat P1/2/anat P3/scan1 P3/mr2", "P1_1 P1_2 scan1 mr2", "P1 P1 P3 P3"),
        ("P1/first P1/second", "first second", "P1 P1"),
        ("train/1 train/ann 2021/3 2021/4", "1 ann 3 4", "1 ann 3 4"),
        ("site1/a-7 site1/a-8", "a-7 a-8", "a-7 a-8"),
    ],
)
def test_visits_in_one_folder_are_one_patient(tmp_path, folders, case_ids, patients):
    for folder in folders.split():
        touch(*(tmp_path / folder / f"{name[1:]}.nii.gz" for name in OLD))
    cases, _ = find_cases(tmp_path, need_segmentation=True)
    expected = (case_ids or folders.replace("/", "_")).split()
    pairs = {case.id: case.patient for case in cases}
    assert pairs == dict(zip(expected, patients.split(), strict=True))


def test_two_folders_called_anat_are_two_cases_whatever_else_is_there(tmp_path):
    for subject in ("sub-01", "sub-02"):
        touch_case(tmp_path / subject / "anat")
    cases, _ = find_cases(tmp_path, need_segmentation=True)
    assert ids(cases) == ["sub-01", "sub-02"]
    for root in ("sub-01", "sub-01/anat"):  # The id does not depend on the data folder.
        assert ids(find_cases(tmp_path / root, need_segmentation=True)[0]) == ["sub-01"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("case, patient ,age\na-0001-000 , X,1\na-0002-000,X,2\nother,Y,3\n", ""),
        ("id,patient\na-0001-000,X\n", "no patient for a-0001-000, a-0002-000. Expected"),
        ("case,patient\na-0001-000,X\na-0002-000, \n", "no patient for a-0002-000. Expected"),
        ("case,patient\na-0001-000,X\na-0001-000,Y\n", "two patients for a-0001-000. Remove"),
    ],
)
def test_a_table_of_patients_decides_and_has_every_case(tmp_path, text, wrong):
    for name in ("a-0001-000", "a-0002-000"):
        touch_case(tmp_path / name, NEW)
    (tmp_path / "patients.csv").write_text(text)
    if not wrong:
        cases, _ = find_cases(tmp_path, need_segmentation=True)
        assert [case.patient for case in cases] == ["X", "X"]
        return
    with pytest.raises(InputError, match=f"patients.csv has {wrong}"):
        find_cases(tmp_path, need_segmentation=True)
