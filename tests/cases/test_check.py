"""The check of every voxel: one defect at a time, several cases, the table, the real cases."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

import extract_patches
from brats.cases.check import (
    CaseCheck,
    check_case,
    compare_cases,
    read_case_to_score,
    read_checked_case,
    table,
)
from brats.cases.find import Case, find_cases
from brats.editions import EDITIONS, classes_to_labels
from brats.errors import InputError
from brats.script import exit_code
from brats.volumes.geometry import Geometry
from tests.synthetic import build_image

# Thick slices, so that the brain of the phantom has about 800 ml.
GEOMETRY = Geometry((1.0, 1.0, 10.0), (0.0, -239.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
EDITION = EDITIONS["2017"]
NAMES = ("flair", "t1", "t1ce", "t2", "seg")


@pytest.fixture
def volumes(phantom):
    """The volumes of a case, to be changed."""
    images, classes = phantom
    images = {name: image.copy() for name, image in images.items()}
    return images | {"seg": classes_to_labels(classes, EDITION)}


def write(folder, volumes, geometries=None):
    """Writes the volumes as a case of 2017."""
    suffixes = EDITION.suffixes | {"seg": EDITION.segmentation}
    paths = {name: folder / f"{folder.name}{suffixes[name][0]}.nii" for name in volumes}
    folder.mkdir()
    for name, volume in volumes.items():
        image = build_image(volume, (geometries or {}).get(name, GEOMETRY))
        SimpleITK.WriteImage(image, str(paths[name]))
    segmentation = paths.pop("seg", None)
    return Case(folder.name, folder, EDITION, paths, segmentation, None, folder.name)


def test_a_good_case_has_facts_and_nothing_else(tmp_path, volumes):
    check = check_case(write(tmp_path / "good", volumes))
    assert (check.errors, check.warnings) == ([], [])
    values = np.concatenate([volumes[name][volumes["t1"] != 0] for name in NAMES[:4]])
    shares = {
        f"{name} %": f"{100 * np.mean(volumes['seg'] == label):.2f}"
        for name, label in (("necrosis", 1), ("edema", 2), ("enhancing", 4))
    }
    assert check.facts == shares | {
        "files": "5",
        "size": "128 x 144 x 24",
        "spacing mm": "1 x 1 x 10",
        "orientation": "LPS",
        "type": "int16",
        "intensities": f"{values.min()} to {values.max()}",
        "brain %": f"{100 * np.mean(volumes['t1'] != 0):.2f}",
    }


def test_the_table_shows_types_and_the_axes_of_the_file(tmp_path, volumes):
    del volumes["seg"]
    volumes["t2"] = volumes["t2"].astype(np.float32)
    other = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    facts = check_case(write(tmp_path / "case", volumes, dict.fromkeys(NAMES, other))).facts
    assert (facts["type"], facts["orientation"]) == ("float32, int16", "RAS")
    assert facts["files"] == "4" and "edema %" not in facts


def test_all_errors_of_a_case_are_listed_and_each_once(tmp_path, volumes):
    volumes["t1"][:] = 0
    volumes["seg"][8, 9, 8] = 3
    case = write(tmp_path / "case", volumes)
    case.images["flair"].write_bytes(case.images["flair"].read_bytes()[:-1])
    check = check_case(case)
    flair, empty, labels = check.errors
    assert flair.startswith(f"{case.images['flair']} holds ")
    assert labels.startswith(f"{case.segmentation}: Unknown label values 3; expected")
    assert empty.startswith(f"{case.images['t1']} is 0 everywhere.")
    with pytest.raises(InputError) as raised:
        read_checked_case(case, force=True)
    assert str(raised.value).splitlines() == check.errors


def test_a_case_that_no_network_can_segment_is_an_error_or_with_force_a_warning(tmp_path, volumes):
    volumes["t1ce"], volumes["t2"] = volumes["t1"], volumes["t2"] + 7
    case = write(tmp_path / "case", volumes)
    with pytest.raises(InputError, match="t1 and t1ce are the same image.*--force") as raised:
        read_checked_case(case)
    assert f"Case case in {case.folder}" in str(raised.value)
    raw = read_checked_case(case, force=True)
    repaired, same = raw.warnings
    assert repaired.startswith("t2: the background was 7") and (raw.volumes[3] == 0).any()
    check = check_case(case)
    assert (check.errors, check.warnings) == ([same], [repaired])


def test_for_scores_only_the_reference_is_checked(tmp_path, volumes):
    volumes["t1"] = volumes["t1ce"]
    volumes["seg"] = volumes["seg"][:, :, ::-1]
    (warning,) = read_case_to_score(write(tmp_path / "case", volumes)).warnings
    assert "mirrored along x" in warning


def test_one_patient_under_two_ids_is_a_warning_in_both(tmp_path, volumes):
    others = {name: 2 * volume for name, volume in volumes.items() if name != "seg"}
    cases = [
        write(tmp_path / "first", volumes),
        write(tmp_path / "other", volumes | others),
        write(tmp_path / "second", volumes | {"t2": others["t2"] + (volumes["t2"] > 0)}),
    ]
    text = "flair, t1, t1ce: the same images as {} has: one patient with two ids?"
    assert [check.warnings for check in compare_cases(list(map(check_case, cases)))] == [
        [text.format("second")],
        [],
        [text.format("first")],
    ]


def test_label_4_without_label_3_under_the_names_of_2023_is_a_warning(tmp_path, volumes):
    # The file holds 4, which is enhancing tumor in 2017 and a cavity in 2024.
    case = replace(write(tmp_path / "case", volumes), edition=EDITIONS["2023"])
    (warning,) = check_case(case).warnings
    number = np.count_nonzero(volumes["seg"] == 4)
    assert warning.startswith(f"{number:,} voxels of label 4 (resection cavity, trained as ")
    assert read_case_to_score(case).warnings == [warning]


def test_the_table_has_aligned_rows_with_errors_and_warnings_below():
    checks = [
        CaseCheck("first", [], ["Odd."], facts={"size": "3 x 4", "brain": "5"}),
        CaseCheck("a", ["Bad."], ["Odd."], facts={"size": "10 x 12"}),
        CaseCheck("b", [], []),
    ]
    assert table(checks).splitlines() == [
        "case   size     brain",
        "first  3 x 4    5",
        "  warning: Odd.",
        "a      10 x 12  -",
        "  error: Bad.",
        "  warning: Odd.",
        "b      -        -",
        "3 cases, 1 with errors, 2 with warnings",
    ]


def test_one_real_case_gets_warnings(real_cases):
    # BraTS2021_01482: the largest value of every image is 32767, once; and in the T1, sagittal
    # slices, the background within the brain is 99 beyond two slanted planes, 127,929 voxels of
    # 1,730,506 (seen in pictures and counted with NumPy). Two more cases show that others do not.
    cases = find_cases(real_cases, True)[0]
    checks = compare_cases([check_case(case) for case in (cases[0], cases[-2], cases[-1])])
    assert not any(check.errors for check in checks)
    assert {check.case_id: check.warnings for check in checks if check.warnings} == {
        "BraTS2021_01482": [
            "flair, t1, t1ce, t2: 1 voxel at 32767, the largest value of int16: clipped, or "
            "stretched to fill the type.",
            "t1: one value, 99, in 7.4 % of the brain: cut off.",
        ]
    }


def test_the_command_prints_every_case_ends_with_code_1_and_writes_nothing(
    cohort, tmp_path, monkeypatch, capsys
):
    shutil.copytree(cohort / "HGG", tmp_path / "cases")
    monkeypatch.chdir(tmp_path)
    command = ["--data-root", "cases", "--check"]
    assert exit_code(lambda: extract_patches.main(command)) == 0
    text = capsys.readouterr().out
    assert text.count("warning: ") == text.count("warning: The brain has ") == 3  # 20 slices.
    broken, unlabelled, incomplete = sorted((tmp_path / "cases").iterdir())
    (broken / f"{broken.name}_t2.nii.gz").write_bytes(b"")
    (unlabelled / f"{unlabelled.name}_seg.nii.gz").unlink()
    (incomplete / f"{incomplete.name}_t1.nii.gz").unlink()
    assert exit_code(lambda: extract_patches.main(command)) == 1
    printed = capsys.readouterr()
    assert f"{broken.name}_t2.nii.gz holds 0 bytes" in printed.out
    assert "warning: No segmentation: usable for prediction only." in printed.out
    assert f"{incomplete.name} has 0 files for t1" in printed.out
    assert "3 cases, 2 with errors, 1 with warnings" in printed.out
    names = f"{broken.name}, {incomplete.name}"
    assert f"errors in 2 of 3 cases, see above: {names}. Repair" in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["cases"]
