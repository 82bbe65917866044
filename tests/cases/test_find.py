"""Complete and incomplete cases, a case of four files, and what is said about the others."""

import os
import re
from pathlib import Path

import pytest

from brats.cases.find import (
    MAX_NAME,
    Case,
    build_case,
    describe_ignored,
    find_cases,
    select_cases,
)
from brats.editions import EDITIONS, MODALITIES
from brats.errors import Failed, InputError
from tests.cases.folders import OLD, ids, touch, touch_case, touch_msd
from tests.synthetic import make_case


def test_an_incomplete_case_fails_alone_with_what_is_missing_and_what_was_found(tmp_path):
    # The files are empty: finding cases reads none of them.
    touch_case(tmp_path / "BraTS2021_00000")
    touch_case(tmp_path / "LGG" / "BraTS2021_00001", ("_flair", "_t1ce", "_t2", "_mask"))
    touch_case(tmp_path / "BraTS2021_00002", ("_t1",), ".dcm")
    touch_case(tmp_path / "BraTS2021_00003")
    touch(tmp_path / "BraTS2021_00003" / "BraTS2021_00003_t1.nii")
    cases, failures = find_cases(tmp_path, need_segmentation=True)
    assert ids(cases) == ["BraTS2021_00000"]
    assert [failed.case_id[-1] for failed in failures] == list("123")
    mask, nothing, twice = (failed.reason for failed in failures)
    # T1ce does not replace a missing T1.
    assert mask.startswith(
        f"{tmp_path}/LGG/BraTS2021_00001 has 0 files for t1 and 0 files for seg; expected one "
        "each, named *_t1 or *_seg with the ending .nii.gz or .nii or .mha or .nrrd. "
        "Found BraTS2021_00001_flair"
    )
    assert "BraTS2021_00001_mask.nii.gz" in mask and mask.endswith("or remove it.")
    assert "Found BraTS2021_00002_t1.dcm. 1 are DICOM files; convert" in nothing
    assert "2 files for t1 (BraTS2021_00003_t1.nii, BraTS2021_00003_t1.nii.gz); " in twice


@pytest.mark.parametrize(
    ("name", "shown", "reason"),
    [
        ("line\nbreak", "line\\nbreak", "Rename it"),
        (os.fsdecode(b"caf\xe9"), "caf\\udce9", "Rename it"),
        ("b" * (MAX_NAME + 1), "b" * (MAX_NAME + 1), f"{MAX_NAME + 1} bytes; expected at most"),
    ],
)
def test_a_name_that_cannot_be_printed_or_is_too_long_fails(tmp_path, name, shown, reason):
    for folder in (name, "b" * MAX_NAME):
        touch(*(tmp_path / folder / f"{end[1:]}.nii" for end in OLD))
    (case,), (failed,) = find_cases(tmp_path, need_segmentation=True)
    assert case.id == "b" * MAX_NAME
    assert failed.case_id == shown and reason in failed.reason


def test_missing_and_doubled_labels_of_msd_fail(tmp_path):
    touch_msd(tmp_path, training=("BRATS_001", "BRATS_002", "BRATS_003"))
    touch(tmp_path / "labelsTr" / "BRATS_001.nii")
    (tmp_path / "labelsTr" / "BRATS_002.nii.gz").unlink()
    twice, missing = find_cases(tmp_path, need_segmentation=True)[1]
    assert (twice.case_id, missing.case_id) == ("BRATS_001", "BRATS_002")
    assert twice.reason.startswith(f"{tmp_path}/imagesTr/BRATS_001.nii.gz has 2 files for seg (")
    assert "0 files for seg; expected one each, named labelsTr/BRATS_002" in missing.reason


def test_the_reference_of_case_355_of_2020_has_another_name(tmp_path):
    folder = tmp_path / "BraTS20_Training_355"
    touch_case(folder, OLD[:4])
    touch(folder / "W39_1998.09.19_Segm.nii")
    (case,), _ = find_cases(tmp_path, need_segmentation=True)
    assert case.segmentation == folder / "W39_1998.09.19_Segm.nii"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "which holds nothing. Expected .*BraTS2021_00000"),
        ("abcdefg", "which holds a, b, c, d, e and 2 more. Expected"),
        (["p/1.dcm", "p/2.dcm"], "holds p/1.dcm, p/2.dcm. 2 are DICOM .* with dcm2niix. Expected"),
        (["p/flair.mgz", "q.tar"], "holds p/flair.mgz, q.tar. 1 are FreeSurfer .* mri_convert."),
        (["p/a.nii.gz"], "(?s)holds p/a.nii.gz. Expected .*t1ce: .*_t1gd.*docs/data.md"),
        (["a_t1.nii", "b/c_t1.nii", "d/e_t2.nii"], "(?s)of 2 found:.*/b has 0 .*\n.*/d has 0 "),
        ([f"{p}{end}.nii" for p in "ab" for end in OLD], "2 files for flair .* a folder"),
    ],
)
def test_a_folder_without_complete_cases_is_refused_with_what_it_holds(tmp_path, names, message):
    for name in names:
        touch(tmp_path / name) if "." in name else (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=message):
        find_cases(tmp_path, need_segmentation=False)


@pytest.mark.parametrize(
    ("name", "doubled"),
    [
        ("x_t1c", "2 files for t1ce (x_t1c.nii, x_t1ce.nii)"),
        ("y-t2f", "2 files for flair (x_flair.nii, y-t2f.nii)"),
        ("flair", "2 files for flair (flair.nii, x_flair.nii)"),
        ("seg", "2 files for seg (seg.nii, x_seg.nii)"),
        *((name, "") for name in ("x_t1_seg", "x_brain_seg", "brain_mask_t1", "x_t1_bias")),
    ],
)
def test_two_files_for_one_modality_are_named_and_other_files_do_no_harm(tmp_path, name, doubled):
    touch(*(tmp_path / "x" / f"x{end}.nii" for end in OLD), tmp_path / "x" / f"{name}.nii")
    if doubled:
        with pytest.raises(InputError, match=re.escape(f"x has {doubled}; expected one")):
            find_cases(tmp_path, need_segmentation=True)
        return
    (case,), _ = find_cases(tmp_path, need_segmentation=True)
    assert case.segmentation.name == "x_seg.nii" and case.images["t1"].name == "x_t1.nii"


def test_a_case_may_be_the_data_folder(tmp_path, monkeypatch):
    touch_case(tmp_path / "HGG" / "BraTS2021_00000")
    touch(tmp_path / "HGG" / "BraTS2021_00000" / "old" / "a_t1.nii")
    monkeypatch.chdir(tmp_path / "HGG" / "BraTS2021_00000")
    for root in (tmp_path / "HGG", tmp_path / "HGG" / "BraTS2021_00000", "."):
        cases, failures = find_cases(root, need_segmentation=True)
        assert ids(cases) == ["BraTS2021_00000"] and not failures
        assert describe_ignored(root) == ""


def test_references_with_unknown_labels_are_not_used_in_prediction_with_a_warning(tmp_path):
    touch_case(tmp_path / "p7", ("_brain_t2f", "_brain_t1n", "_brain_t1c", "_brain_t2w"))
    touch(tmp_path / "p7" / "p7_tumorMask.nii.gz", tmp_path / "other" / "mask.nii.gz")
    cases, _ = find_cases(tmp_path, need_segmentation=False, need_labels=False)
    assert cases[0].segmentation is None
    assert cases[0].warnings == (
        "p7_tumorMask.nii.gz is not used: define its labels with --labels.",
    )
    assert describe_ignored(tmp_path) == f"{tmp_path}/other"


def test_images_and_folders_that_belong_to_no_case_are_ignored(tmp_path):
    touch_case(tmp_path / "HGG" / "Brats17_TCIA_121_1")
    touch_case(tmp_path / "HGG" / "Brats17_TCIA_200_1", OLD[1:])  # It is incomplete: it fails.
    touch_msd(tmp_path / "Task01")
    for name in ("p_flair.nii.gz", "HGG/empty/notes.txt", "part/a/p_flair.nii.gz.part"):
        touch(tmp_path / name)
    touch_case(tmp_path / "1" / "2" / "3" / "4" / "5" / "deep")
    cases, _ = find_cases(tmp_path, need_segmentation=True)
    ignored = [tmp_path / name for name in ("1", "HGG/empty", "p_flair.nii.gz", "part")]
    assert describe_ignored(tmp_path) == ", ".join(map(str, ignored))
    assert describe_ignored(tmp_path / "Task01") == ""


def test_selected_cases_keep_their_order_and_an_unknown_id_is_named():
    cases, failures = [make_case(case_id) for case_id in "abc"], [Failed("d", "Broken.")]
    assert select_cases(cases, failures, ()) == (cases, failures)
    assert select_cases(cases, failures, ["c", "data/a/"]) == ([cases[0], cases[2]], [])
    assert select_cases(cases, failures, ["d", "a"]) == ([cases[0]], failures)
    with pytest.raises(InputError, match="Broken."):
        select_cases(cases, failures, ["d"])
    with pytest.raises(InputError, match="No case is called x, y. Found 3 cases, from a to c"):
        select_cases(cases, failures, ["y", "b", "x"])


def test_a_case_moves_to_another_folder():
    case = Case(
        "a", Path("x/a"), EDITIONS["2017"], {"t1": Path("x/a/t1")}, Path("x/a/seg"), "LGG", "a"
    )
    moved = case.below(Path("/data"))
    assert (moved.folder, moved.images["t1"]) == (Path("/data/x/a"), Path("/data/x/a/t1"))
    assert (moved.segmentation, moved.id, moved.grade) == (Path("/data/x/a/seg"), "a", "LGG")


@pytest.mark.parametrize(
    ("names", "output", "case_id", "folder"),
    [
        ("p1_fl.nii.gz p1_t1.nii p1_t1c.nii.gz p1_t2.mha", "out", "p1", "out"),
        ("A-0-t2f.nii A-0-t1n.nii A-0-t1c.nii A-0-t2w.nii", "out", "A-0", "out"),
        ("Fl.nii.gz T1.nii.gz T1C.nii.gz T2.nii.gz", "out", "Fl", "out"),
        ("Fl.nii.gz T1.nii.gz T1C.nii.gz T2.nii.gz", "out/smith.NII.GZ", "smith", "out"),
    ],
)
def test_four_files_of_any_name_are_a_case(tmp_path, names, output, case_id, folder):
    paths = [tmp_path / name for name in names.split()]
    touch(*paths)
    images = dict(zip(MODALITIES, map(str, paths), strict=True))
    case, where = build_case(images, output)
    assert (case.id, where, list(case.images.values())) == (case_id, Path(folder), paths)
    assert case.segmentation is case.edition.labels is None
    with pytest.raises(FileNotFoundError, match="--t1ce .*b.nii.gz is not a file"):
        build_case(images | {"t1ce": str(tmp_path / "b.nii.gz")}, output)


def test_a_segmentation_does_not_replace_an_image(tmp_path):
    path = tmp_path / "a.nii.gz"
    touch(path)
    with pytest.raises(InputError, match="would replace an image .* --output"):
        build_case(dict.fromkeys(MODALITIES, path), path)
