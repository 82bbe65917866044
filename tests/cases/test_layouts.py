"""Where cases lie: the archives' own folders, all of them under one root, and the grades."""

import os
import re

import pytest

from brats.cases.find import describe_ignored, find_cases
from brats.cases.layouts import MAX_DEPTH, find_case_paths, read_grades
from brats.cases.split import split_cases
from brats.errors import InputError
from tests.synthetic import case_ids

OLD = ("_flair", "_t1", "_t1ce", "_t2", "_seg")
NEW = ("-t2f", "-t1n", "-t1c", "-t2w", "-seg")
# As in the archive of BraTS 2020, without the ids of TCIA.
MAPPING = """\
Grade,BraTS_2017_subject_ID,BraTS_2018_subject_ID,BraTS_2019_subject_ID,BraTS_2020_subject_ID
HGG,Brats17_CBICA_AAB_1,Brats18_CBICA_AAB_1,BraTS19_CBICA_AAB_1,BraTS20_Training_001
LGG,Brats17_2013_0_1,Brats18_2013_0_1,BraTS19_2013_0_1,BraTS20_Training_002
HGG,NA,NA,NA,BraTS20_Training_003
"""


def touch(*paths):
    """Makes empty files: whoever reads one fails."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def touch_case(folder, suffixes=OLD, extension=".nii.gz"):
    touch(*(folder / f"{folder.name}{suffix}{extension}" for suffix in suffixes))


def touch_msd(root, training=("BRATS_001", "BRATS_002"), test=("BRATS_485",)):
    touch(*(root / "imagesTr" / f"{name}.nii.gz" for name in training))
    touch(*(root / "labelsTr" / f"{name}.nii.gz" for name in training))
    touch(*(root / "imagesTs" / f"{name}.nii.gz" for name in test))
    # As in the archive, which macOS made.
    touch(root / "imagesTr" / "._BRATS_001.nii.gz", root / "._labelsTr", root / "dataset.json")


def test_archives_of_all_editions_lie_under_one_root(tmp_path):
    touch_case(tmp_path / "MICCAI_BraTS_2018_Data_Training" / "HGG" / "Brats18_2013_10_1")
    touch_case(tmp_path / "MICCAI_BraTS_2018_Data_Training" / "LGG" / "Brats18_2013_0_1")
    touch_case(
        tmp_path / "kaggle" / "BraTS2020_TrainingData" / "m" / "BraTS20_Training_001", OLD, ".nii"
    )
    touch_case(tmp_path / "HGG" / "Brats17_TCIA_121_1")
    touch_case(tmp_path / "BraTS2021_00000")
    touch_case(tmp_path / "BraTS2023" / "BraTS-GLI-00000-000", NEW)
    touch_case(tmp_path / "BraTS2023" / "BraTS-GLI-00000-001", NEW)
    touch_msd(tmp_path / "Task01_BrainTumour")
    cases = find_cases(tmp_path, need_segmentation=True)
    assert [(case.id, case.edition.name, case.grade) for case in cases] == [
        ("BRATS_001", "msd", None),
        ("BRATS_002", "msd", None),
        ("BraTS-GLI-00000-000", "2023", None),
        ("BraTS-GLI-00000-001", "2023", None),
        ("BraTS2021_00000", "2017", None),
        ("BraTS20_Training_001", "2017", None),
        ("Brats17_TCIA_121_1", "2017", "HGG"),
        ("Brats18_2013_0_1", "2017", "LGG"),
        ("Brats18_2013_10_1", "2017", "HGG"),
    ]
    assert len({case.patient for case in cases}) == 8


@pytest.mark.parametrize("below", ["", "imagesTr"])
def test_images_of_msd_are_cases_with_one_path_for_all_modalities(tmp_path, below):
    touch_msd(tmp_path)
    first, second = find_cases(tmp_path / below, need_segmentation=True)
    assert (first.id, first.patient, second.id) == ("BRATS_001", "BRATS_001", "BRATS_002")
    image = tmp_path / "imagesTr" / "BRATS_001.nii.gz"
    assert first.images == dict.fromkeys(("flair", "t1", "t1ce", "t2"), image)
    assert first.segmentation == tmp_path / "labelsTr" / "BRATS_001.nii.gz"
    assert first.folder == tmp_path / "imagesTr"


def test_a_case_folder_among_the_images_of_msd_is_a_case_folder(tmp_path):
    touch_msd(tmp_path)
    touch_case(tmp_path / "imagesTr" / "BraTS2021_00000")
    first, *_ = find_cases(tmp_path, need_segmentation=True)
    assert (first.id, first.edition.name) == ("BRATS_001", "msd")
    (tmp_path / "imagesTr" / "BRATS_001.nii.gz").unlink()
    (tmp_path / "imagesTr" / "BRATS_002.nii.gz").unlink()
    (case,) = find_cases(tmp_path, need_segmentation=True)
    assert (case.id, case.edition.name) == ("BraTS2021_00000", "2017")


def test_test_images_of_msd_are_predicted_and_left_out_of_extraction(tmp_path):
    touch_msd(tmp_path)
    cases = find_cases(tmp_path, need_segmentation=False)
    assert case_ids(cases) == ["BRATS_001", "BRATS_002", "BRATS_485"]
    assert cases[2].segmentation is None
    assert case_ids(find_cases(tmp_path, need_segmentation=True)) == ["BRATS_001", "BRATS_002"]


def test_missing_and_doubled_labels_of_msd_have_a_row_each(tmp_path):
    touch_msd(tmp_path)
    touch(tmp_path / "labelsTr" / "BRATS_001.nii")
    (tmp_path / "labelsTr" / "BRATS_002.nii.gz").unlink()
    with pytest.raises(InputError, match="2 of 2 cases") as error:
        find_cases(tmp_path, need_segmentation=True)
    assert str(error.value).splitlines()[2:] == [
        "  yes     yes     yes     yes     many    imagesTr/BRATS_001.nii.gz",
        "  yes     yes     yes     yes     -       imagesTr/BRATS_002.nii.gz",
    ]


@pytest.mark.parametrize("other", ["imagesTs/BRATS_001.nii.gz", "imagesTr/BRATS_001.nii"])
def test_same_image_of_msd_in_two_places_is_refused(tmp_path, other):
    touch_msd(tmp_path)
    touch(tmp_path / other)
    with pytest.raises(InputError, match=f"Two cases are called BRATS_001: .*{other}"):
        find_cases(tmp_path, need_segmentation=False)


def test_same_case_of_two_archives_is_refused_with_both_places(tmp_path):
    touch_case(tmp_path / "first" / "BraTS2021_00000")
    touch_case(tmp_path / "second" / "BraTS2021_00000")
    with pytest.raises(InputError, match="called BraTS2021_00000: .*/first/.* and .*/second/"):
        find_cases(tmp_path, need_segmentation=True)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_case_355_of_2020_has_its_ground_truth_under_another_name(tmp_path, extension):
    folder = tmp_path / "BraTS20_Training_355"
    touch_case(folder, OLD[:4], extension)
    touch(folder / f"W39_1998.09.19_Segm{extension}")
    (case,) = find_cases(tmp_path, need_segmentation=True)
    assert case.segmentation == folder / f"W39_1998.09.19_Segm{extension}"
    touch(folder / f"BraTS20_Training_355_seg{extension}")
    with pytest.raises(InputError, match="yes     yes     yes     yes     many    BraTS20_Tr"):
        find_cases(tmp_path, need_segmentation=True)


def test_grades_come_from_the_table_beside_or_above_the_cases_and_from_folders_first(tmp_path):
    for number in (1, 2, 3, 4):
        touch_case(tmp_path / "2020" / f"BraTS20_Training_00{number}")
    touch_case(tmp_path / "2018" / "HGG" / "Brats18_2013_0_1")  # LGG in the table.
    (tmp_path / "2020" / "name_mapping.csv").write_text(MAPPING)
    (tmp_path / "name_mapping_2018.csv").write_text(MAPPING)
    cases = find_cases(tmp_path, need_segmentation=True)
    assert [case.grade for case in cases] == ["HGG", "LGG", "HGG", None, "HGG"]


def test_grades_of_a_table_divide_the_split(tmp_path):
    rows = ["Grade,BraTS_2020_subject_ID"]
    for number in range(1, 11):
        touch_case(tmp_path / f"BraTS20_Training_{number:03d}")
        rows.append(f"{'LGG' if number > 6 else 'HGG'},BraTS20_Training_{number:03d}")
    # With the mark that spreadsheets put before the first letter, and their line ends.
    text = "\r\n".join(rows)
    (tmp_path / "name_mapping.csv").write_text(text, encoding="utf-8-sig", newline="")
    for seed in range(5):
        _, validation = split_cases(find_cases(tmp_path, need_segmentation=True), 0.5, seed)
        assert sorted(case.grade for case in validation) == ["HGG"] * 3 + ["LGG"] * 2


def test_table_without_grades_tells_none(tmp_path):
    touch_case(tmp_path / "BraTS20_Validation_001")
    (tmp_path / "name_mapping_validation_data.csv").write_text(
        "BraTS_2019_subject_ID,BraTS_2020_subject_ID\nNA,BraTS20_Validation_001\n"
    )
    assert find_cases(tmp_path, need_segmentation=False)[0].grade is None


def test_rows_that_are_short_or_long_or_of_no_grade_do_no_harm(tmp_path):
    (tmp_path / "name_mapping.csv").write_text(
        "Grade,a_subject_ID,b_subject_ID\nLGG\nHGG,x,y,z,z\nNA,u,v\nLGG,NA,w\n"
    )
    assert read_grades(tmp_path, [tmp_path / "x"]) == {"x": "HGG", "y": "HGG", "w": "LGG"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has the columns none; expected Grade, and one that ends in subject_ID"),
        ("<html>\n<body>Log in</body>\n", "has the columns '<html>'; expected Grade"),
        ("Grade;a_subject_ID\nHGG;x\n", "has the columns 'Grade;a_subject_ID'; expected Grade"),
        ("HGG,x\nLGG,y\n", "has the columns 'HGG', 'x'; expected Grade"),
        ('Grade,a_subject_ID\n"I\nV",x\n', r"has the grades 'I\nV'; expected HGG or LGG"),
        ("Grade,a_subject_ID\nIV,x\nHGG,y\n", "has the grades 'IV'; expected HGG or LGG"),
        ("Grade,a_subject_ID\nHGG,x\nLGG,x\n", "gives 'x' the grade LGG; the line or table before"),
    ],
)
def test_a_table_that_tells_no_grades_is_told(tmp_path, text, told):
    (tmp_path / "name_mapping.csv").write_text(text)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/name_mapping.csv {told}")):
        read_grades(tmp_path, [tmp_path / "x"])


def test_a_pipe_named_as_a_table_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "name_mapping.csv")
    with pytest.raises(InputError, match="name_mapping.csv is not a file. Remove it"):
        read_grades(tmp_path, [tmp_path / "x"])


def test_what_lies_beside_cases_and_is_none_is_told(tmp_path):
    touch_case(tmp_path / "HGG" / "Brats17_TCIA_121_1")
    touch_msd(tmp_path / "Task01")
    for name in ("p_flair.nii.gz", "HGG/empty/notes.txt", "part/a/p_flair.nii.gz.part"):
        touch(tmp_path / name)
    touch_case(tmp_path / "1" / "2" / "3" / "4" / "deep")
    cases = find_cases(tmp_path, need_segmentation=True)
    ignored = [tmp_path / name for name in ("1", "HGG/empty", "p_flair.nii.gz", "part")]
    assert describe_ignored(tmp_path, cases) == ", ".join(map(str, ignored))
    assert describe_ignored(tmp_path / "Task01", cases[:2]) == "nothing"


def test_a_link_to_a_disk_that_is_not_mounted_is_told(tmp_path):
    touch_case(tmp_path / "BraTS2021_00000")
    (tmp_path / "BraTS2021_00001").symlink_to("/nowhere/BraTS2021_00001")
    told = f"{tmp_path}/BraTS2021_00001 is a link to /nowhere/BraTS2021_00001, which does not exist"
    with pytest.raises(InputError, match=re.escape(told)):
        find_cases(tmp_path, need_segmentation=True)


def test_an_ending_in_capitals_is_told_as_not_recognized(tmp_path):
    touch_case(tmp_path / "patient", extension=".NII.GZ")
    with pytest.raises(InputError, match="patient, not recognized: patient_flair.NII.GZ"):
        find_cases(tmp_path, need_segmentation=True)


def test_images_of_several_cases_in_one_folder_are_told(tmp_path):
    for name in ("a", "b"):
        touch(*(tmp_path / f"{name}{suffix}.nii.gz" for suffix in OLD))
    with pytest.raises(InputError, match=f"{tmp_path} holds 10 images side by side. Give each"):
        find_cases(tmp_path, need_segmentation=True)


def test_table_that_is_no_text_is_named(tmp_path):
    touch_case(tmp_path / "BraTS20_Training_001")
    (tmp_path / "name_mapping.csv").write_bytes(b"Grade,\xff\xfe\n")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/name_mapping.csv as a table")):
        find_cases(tmp_path, need_segmentation=True)


def test_case_is_not_searched_for_others_and_hidden_folders_are_passed(tmp_path):
    touch_case(tmp_path / "BraTS2021_00000")
    touch_case(tmp_path / "BraTS2021_00000" / "old" / "BraTS2021_00000")
    touch_case(tmp_path / ".cache" / "BraTS2021_00001")
    touch(tmp_path / "__MACOSX" / "BraTS2021_00002" / "._BraTS2021_00002_t1.nii.gz")
    assert find_case_paths(tmp_path) == [tmp_path / "BraTS2021_00000"]


def test_folders_that_lead_in_a_circle_end_at_the_greatest_depth(tmp_path):
    deep = tmp_path.joinpath(*"abcdef"[: MAX_DEPTH - 1])
    touch_case(deep / "found")
    touch_case(deep / "too" / "deep")
    (deep / "circle").symlink_to(tmp_path, target_is_directory=True)
    assert find_case_paths(tmp_path) == [deep / "found"]
