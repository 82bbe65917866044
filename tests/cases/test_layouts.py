"""Where cases lie: the folders of the archives, several of them under one root, and the grades."""

import pytest

from brats.cases.find import find_cases
from brats.cases.layouts import MAX_DEPTH, find_matches
from brats.cases.patients import read_grades
from brats.errors import InputError
from tests.cases.folders import NEW, touch, touch_case, touch_msd

# As in the archive of BraTS 2020, without the ids of TCIA.
MAPPING = """\
Grade,BraTS_2017_subject_ID,BraTS_2018_subject_ID,BraTS_2019_subject_ID,BraTS_2020_subject_ID
HGG,Brats17_CBICA_AAB_1,Brats18_CBICA_AAB_1,BraTS19_CBICA_AAB_1,BraTS20_Training_001
LGG,Brats17_2013_0_1,Brats18_2013_0_1,BraTS19_2013_0_1,BraTS20_Training_002
HGG,NA,NA,NA,BraTS20_Training_003
"""


def test_archives_of_all_editions_lie_under_one_root(tmp_path):
    touch_case(tmp_path / "MICCAI_BraTS_2018_Data_Training" / "HGG" / "Brats18_2013_10_1")
    touch_case(tmp_path / "MICCAI_BraTS_2018_Data_Training" / "LGG" / "Brats18_2013_0_1")
    touch_case(tmp_path / "kaggle" / "BraTS2020_TrainingData" / "m" / "BraTS20_Training_001")
    touch_case(tmp_path / "BraTS2021_00000")
    touch_case(tmp_path / "BraTS2023" / "BraTS-GLI-00000-000", NEW)
    touch_case(tmp_path / "BraTS2023" / "BraTS-GLI-00000-001", NEW)
    touch_msd(tmp_path / "Task01_BrainTumour")
    touch(tmp_path / "notes" / "readme.txt", tmp_path / "survival_info.csv")
    cases, failures = find_cases(tmp_path, need_segmentation=True)
    assert not failures
    assert [(case.id, case.edition.name, case.grade) for case in cases] == [
        ("BRATS_001", "msd", None),
        ("BRATS_002", "msd", None),
        ("BraTS-GLI-00000-000", "2023", None),
        ("BraTS-GLI-00000-001", "2023", None),
        ("BraTS2021_00000", "2017", None),
        ("BraTS20_Training_001", "2017", None),
        ("Brats18_2013_0_1", "2017", "LGG"),
        ("Brats18_2013_10_1", "2017", "HGG"),
    ]
    assert len({case.patient for case in cases}) == 7


@pytest.mark.parametrize("below", ["", "imagesTr"])
def test_images_of_msd_are_cases_with_one_path_for_all_modalities(tmp_path, below):
    touch_msd(tmp_path)
    first, second = find_cases(tmp_path / below, need_segmentation=True)[0]
    assert (first.id, first.patient, second.id) == ("BRATS_001", "BRATS_001", "BRATS_002")
    image = tmp_path / "imagesTr" / "BRATS_001.nii.gz"
    assert set(first.images.values()) == {image} and first.folder == image.parent
    assert first.segmentation == tmp_path / "labelsTr" / "BRATS_001.nii.gz"
    if not below:  # Test images have no reference.
        *_, test = find_cases(tmp_path, need_segmentation=False)[0]
        assert (test.id, test.segmentation) == ("BRATS_485", None)


def test_a_root_that_does_not_exist_is_refused_with_the_flag(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist.*--data-root"):
        find_matches(tmp_path / "nowhere")


def test_two_cases_of_one_id_are_refused_with_both_places(tmp_path):
    touch_case(tmp_path / "HGG" / "Brats17_A_1")
    touch_case(tmp_path / "LGG" / "Brats17_A_1")
    with pytest.raises(InputError, match="Two cases are called Brats17_A_1: .*/HGG/.*/LGG/"):
        find_matches(tmp_path)


def test_grades_come_from_the_table_beside_or_above_the_cases_and_from_folders_first(tmp_path):
    for number in (1, 2, 3, 4):
        touch_case(tmp_path / "2020" / f"BraTS20_Training_00{number}")
    touch_case(tmp_path / "2018" / "HGG" / "Brats18_2013_0_1")  # LGG in the table.
    (tmp_path / "2020" / "name_mapping.csv").write_text(MAPPING)
    (tmp_path / "name_mapping_2018.csv").write_text(MAPPING)
    cases, _ = find_cases(tmp_path, need_segmentation=True)
    assert [case.grade for case in cases] == ["HGG", "LGG", "HGG", None, "HGG"]


def test_short_and_long_rows_and_tables_of_validation_cases_are_read(tmp_path):
    text = "Grade,a_subject_ID,b_subject_ID\r\nLGG\r\nHGG,x,y,z,z\r\nNA,u,v\r\nLGG,NA,w\r\n"
    (tmp_path / "name_mapping.csv").write_text(text, encoding="utf-8-sig")
    (tmp_path / "name_mapping_validation_data.csv").write_text("a_subject_ID\nu\n")
    grades = read_grades(tmp_path, [tmp_path / "x"])
    assert [grades.get(name) for name in "xyuvw"] == ["HGG", "HGG", None, None, "LGG"]


@pytest.mark.parametrize(
    "text",
    ["", "<html>\n<body>", "HGG,x\nLGG,y\n", "Grade,subject_ID\nIV,x", "Grade;subject_ID\nHGG;x"],
)
def test_a_file_that_is_no_table_of_grades_is_refused(tmp_path, text):
    (tmp_path / "name_mapping.csv").write_text(text)
    with pytest.raises(InputError, match="name_mapping.csv is not a table of grades: expected"):
        read_grades(tmp_path, [tmp_path / "x"])


def test_a_link_to_a_disk_that_is_not_mounted_is_refused(tmp_path):
    (tmp_path / "BraTS2021_00001").symlink_to("/nowhere/BraTS2021_00001")
    with pytest.raises(InputError, match="00001 is a broken link. Mount its disk"):
        find_matches(tmp_path)


def test_a_case_is_not_searched_for_others_and_hidden_files_are_no_images(tmp_path):
    touch_case(tmp_path / "BraTS2021_00000")
    touch_case(tmp_path / "BraTS2021_00000" / "old" / "BraTS2021_00000")
    touch(tmp_path / "BraTS2021_00000" / "._BraTS2021_00000_t1.nii.gz")
    touch_case(tmp_path / ".cache" / "BraTS2021_00001")
    touch(tmp_path / "__MACOSX" / "BraTS2021_00002" / "._BraTS2021_00002_t1.nii.gz")
    ((case,), failures) = find_cases(tmp_path, need_segmentation=True)
    assert case.folder == tmp_path / "BraTS2021_00000" and not failures
    assert case.images["t1"].name == "BraTS2021_00000_t1.nii.gz"


def test_the_search_ends_at_the_greatest_depth_even_if_links_form_a_circle(tmp_path):
    deep = tmp_path.joinpath(*"abcdef"[: MAX_DEPTH - 1])
    touch_case(deep / "found")
    touch_case(deep / "too" / "deep")
    (deep / "circle").symlink_to(tmp_path, target_is_directory=True)
    assert [match.path for match in find_matches(tmp_path).values()] == [deep / "found"]
