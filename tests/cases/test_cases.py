"""Finding cases by their naming, what is wrong with them, and choosing some."""

import re
from pathlib import Path

import pytest

from brats.cases.find import find_cases, select_cases
from brats.editions import MODALITIES
from brats.errors import InputError
from tests.synthetic import case_ids, make_case, make_cases

OLD = ("_flair", "_t1", "_t1ce", "_t2", "_seg")
NEW = ("-t2f", "-t1n", "-t1c", "-t2w", "-seg")


def touch_case(folder, suffixes=OLD, extension=".nii.gz"):
    """Makes the empty files of a case: whoever reads one fails."""
    folder.mkdir(parents=True)
    for suffix in suffixes:
        (folder / f"{folder.name}{suffix}{extension}").touch()


@pytest.mark.parametrize("extension", [".nii.gz", ".nii"])
@pytest.mark.parametrize(
    ("folder", "suffixes", "edition", "grade"),
    [
        ("HGG/Brats17_TCIA_121_1", OLD, "2017", "HGG"),
        ("LGG/Brats18_2013_0_1", OLD, "2017", "LGG"),
        ("HGG/BraTS19_CBICA_AAB_1", OLD, "2017", "HGG"),
        ("BraTS20_Training_001", OLD, "2017", None),
        ("MICCAI_BraTS2020_TrainingData/BraTS20_Training_001", OLD, "2017", None),
        ("BraTS2021_00000", OLD, "2017", None),
        ("BraTS-GLI-00000-000", NEW, "2023", None),
        ("training_data1_v2/BraTS-GLI-02405-100", NEW, "2023", None),  # 2024
        ("glioma/LGG/patient 7", NEW, "2023", "LGG"),
    ],
)
def test_every_edition_is_recognized_by_its_naming(
    tmp_path, folder, suffixes, edition, grade, extension
):
    touch_case(tmp_path / folder, suffixes, extension)
    (case,) = find_cases(tmp_path, need_segmentation=True)
    stem = tmp_path / folder / Path(folder).name
    expected = [Path(f"{stem}{suffix}{extension}") for suffix in suffixes]
    assert (case.edition.name, case.grade, case.id) == (edition, grade, stem.name)
    assert case.folder == tmp_path / folder
    assert tuple(case.images) == MODALITIES == ("flair", "t1", "t1ce", "t2")
    assert [*case.images.values(), case.segmentation] == expected


def test_case_folder_of_any_name_is_found_by_its_nifti_files(tmp_path):
    touch_case(tmp_path / "patient_7")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").touch()
    (tmp_path / "survival_info.csv").touch()
    assert case_ids(find_cases(tmp_path, need_segmentation=True)) == ["patient_7"]


def test_t1ce_is_no_substitute_for_a_missing_t1(tmp_path):
    touch_case(tmp_path / "BraTS2021_00000", ("_flair", "_t1ce", "_t2", "_seg"))
    row = "yes     -       yes     yes     yes     BraTS2021_00000"
    with pytest.raises(InputError, match=row):
        find_cases(tmp_path, need_segmentation=True)


def test_every_incomplete_case_has_a_row_and_complete_ones_have_none(tmp_path):
    # The files are empty, so the message also shows that none of them was read before.
    touch_case(tmp_path / "BraTS2021_00000")
    touch_case(tmp_path / "BraTS2021_00001", ("_t1", "_t2"))
    touch_case(tmp_path / "BraTS2021_00002", ())
    with pytest.raises(InputError, match="2 of 3 cases") as error:
        find_cases(tmp_path, need_segmentation=True)
    assert str(error.value).splitlines()[1:] == [
        "  flair   t1      t1ce    t2      seg     case",
        "  -       yes     -       yes     -       BraTS2021_00001",
        "  -       -       -       -       -       BraTS2021_00002",
    ]


def test_incomplete_case_in_a_grade_folder_is_told_with_the_grade(tmp_path):
    touch_case(tmp_path / "LGG" / "Brats17_A_1", OLD[:4])
    with pytest.raises(InputError, match=re.escape("yes     -       LGG/Brats17_A_1")):
        find_cases(tmp_path, need_segmentation=True)


def test_two_files_for_one_modality_are_refused(tmp_path):
    folder = tmp_path / "BraTS2021_00000"
    touch_case(folder)
    (folder / "BraTS2021_00000_t1.nii").touch()
    with pytest.raises(InputError, match="yes     many    yes     yes     yes     BraTS2021"):
        find_cases(tmp_path, need_segmentation=True)


def test_case_without_ground_truth_is_complete_where_none_is_needed(tmp_path):
    touch_case(tmp_path / "BraTS-GLI-00001-000", NEW[:4])
    (case,) = find_cases(tmp_path, need_segmentation=False)
    assert case.segmentation is None
    with pytest.raises(InputError, match="exactly one file each for flair, t1, t1ce, t2, seg"):
        find_cases(tmp_path, need_segmentation=True)


def test_folder_without_cases_is_refused_with_an_example(tmp_path):
    (tmp_path / "HGG").mkdir()
    with pytest.raises(InputError, match="No case found in .*BraTS2021_00000.*_t1ce.nii.gz"):
        find_cases(tmp_path, need_segmentation=False)


def test_wrong_root_is_told_with_the_flag(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist.*--data-root"):
        find_cases(tmp_path / "nowhere", need_segmentation=False)


def test_same_id_in_both_grades_is_refused(tmp_path):
    touch_case(tmp_path / "HGG" / "Brats17_A_1")
    touch_case(tmp_path / "LGG" / "Brats17_A_1")
    with pytest.raises(InputError, match="Two cases are called Brats17_A_1: .*HGG.*LGG"):
        find_cases(tmp_path, need_segmentation=True)


def test_cases_are_sorted_by_id_whatever_their_folder_and_age(tmp_path):
    for folder in ("HGG/Brats17_C_1", "LGG/Brats17_B_1", "HGG/Brats17_D_1", "HGG/Brats17_A_1"):
        touch_case(tmp_path / folder)
    found = case_ids(find_cases(tmp_path, need_segmentation=True))
    assert found == ["Brats17_A_1", "Brats17_B_1", "Brats17_C_1", "Brats17_D_1"]


def test_real_cases_are_found(real_cases):
    cases = find_cases(real_cases, need_segmentation=True)
    assert (len(cases), cases[0].id, cases[-1].id) == (16, "BraTS2021_00000", "BraTS2021_01482")
    assert {case.edition.name for case in cases} == {"2017"}


def test_selected_cases_keep_the_order_of_the_cases():
    assert case_ids(select_cases(make_cases(3), ["high02", "high00"])) == ["high00", "high02"]


def test_selecting_an_unknown_case_names_it():
    with pytest.raises(InputError, match="No case is called x, y. Found 3 .*high00 to high02"):
        select_cases(make_cases(3), ["y", "high01", "x"])


def test_visits_are_told_apart_from_patients_by_the_naming_of_2023_only():
    assert make_case("BraTS-GLI-00005-101", edition="2023").patient == "BraTS-GLI-00005"
    assert make_case("Brats17-00005-101").patient == "Brats17-00005-101"


def test_folder_that_is_not_recognized_is_told_with_what_it_holds(tmp_path):
    touch_case(tmp_path / "atlas", ("_mean",))
    touch_case(tmp_path / "BraTS2021_00000", (*OLD[:4], "_mask"))
    with pytest.raises(InputError, match="2 of 2 cases") as error:
        find_cases(tmp_path, need_segmentation=True)
    assert str(error.value).splitlines()[2:] == [
        "  yes     yes     yes     yes     -       BraTS2021_00000, not recognized: "
        "BraTS2021_00000_mask.nii.gz",
        "  -       -       -       -       -       atlas, not recognized: atlas_mean.nii.gz",
    ]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((), "which holds nothing. Expected"),
        (("notes", "HGG"), "which holds HGG, notes. Expected"),
        ("abcdefg", "which holds a, b, c, d, e and 2 more. Expected"),
    ],
)
def test_what_a_folder_without_cases_holds_is_told(tmp_path, names, told):
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=told):
        find_cases(tmp_path, need_segmentation=False)


def test_case_given_as_the_root_is_told(tmp_path):
    touch_case(tmp_path / "BraTS2021_00000")
    with pytest.raises(InputError, match="BraTS2021_00000 is a case itself; give the folder"):
        find_cases(tmp_path / "BraTS2021_00000", need_segmentation=True)


def test_hidden_files_are_no_images(tmp_path):
    touch_case(tmp_path / "BraTS2021_00000")
    (tmp_path / "BraTS2021_00000" / "._BraTS2021_00000_t1.nii.gz").touch()
    case = find_cases(tmp_path, need_segmentation=True)[0]
    assert case.images["t1"].name == "BraTS2021_00000_t1.nii.gz"
