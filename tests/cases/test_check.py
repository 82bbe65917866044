"""The look at the data by extract_patches.py: with --check, and before an extraction."""

import re
import shutil

import numpy as np
import pytest
import SimpleITK

import extract_patches
from brats.patches.file import read_settings
from brats.script import exit_code

CASE_IDS = [f"Brats17_PHANTOM_{index:04d}_1" for index in range(3)]  # Those of high grade.


@pytest.fixture
def copies(cohort, tmp_path):
    """The folder of copies of three phantom cases, to be damaged."""
    shutil.copytree(cohort / "HGG", tmp_path / "cases")
    return tmp_path / "cases"


def run(root, *arguments):
    """Runs the script; returns its exit code."""
    command = ["--data-root", str(root), "--patches-per-case", "2", *map(str, arguments)]
    return exit_code(lambda: extract_patches.main(command))


def change(root, case_id, name, change_volume):
    """Rewrites a file of a case with its voxels changed in place."""
    path = str(root / case_id / f"{case_id}_{name}.nii.gz")
    image = SimpleITK.ReadImage(path)
    volume = SimpleITK.GetArrayFromImage(image)
    change_volume(volume)
    changed = SimpleITK.GetImageFromArray(volume)
    changed.CopyInformation(image)
    SimpleITK.WriteImage(changed, path)


def test_check_prints_a_row_per_case_and_writes_nothing(copies, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(copies, "--check", "--output", "new/patches.h5") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["case", *CASE_IDS, "3", "Ignored:"]
    assert lines[-2:] == ["3 cases, 0 with errors, 0 with warnings", "Ignored: nothing"]
    assert [path.name for path in tmp_path.iterdir()] == ["cases"]


def test_check_looks_at_voxels_and_ends_with_code_1_and_every_error(copies, capsys):
    change(copies, CASE_IDS[0], "seg", lambda labels: np.place(labels, labels == 4, 3))
    change(copies, CASE_IDS[0], "t2", lambda image: image.fill(0))
    change(copies, CASE_IDS[2], "t1", lambda image: np.put(image, image.argmax(), 32767))
    change(copies, CASE_IDS[2], "seg", lambda labels: np.place(labels, labels == 1, 9))
    assert run(copies, "--check", "--workers", 2) == 1
    told = capsys.readouterr()
    kinds = [line.split(":")[0] for line in told.out.splitlines()]
    assert [kind.split()[0] for kind in kinds] == [
        "case",
        CASE_IDS[0],
        "error",
        "error",
        CASE_IDS[1],
        CASE_IDS[2],
        "error",
        "warning",
        "3",
        "Ignored",
    ]
    assert "Error: 3 errors in 2 of 3 cases." in told.err
    for part in ("Unknown label values 3", "t2.nii.gz is 0 everywhere", "Unknown label values 9"):
        assert part in told.out and part in told.err
    assert "t1: 1 voxel at 32767" in told.out


def test_check_takes_cases_without_ground_truth(copies, capsys):
    (copies / CASE_IDS[1] / f"{CASE_IDS[1]}_seg.nii.gz").unlink()
    assert run(copies, "--check") == 0
    assert "warning: No segmentation" in capsys.readouterr().out


def test_extraction_stops_at_once_with_every_error_that_headers_show(copies, tmp_path, capsys):
    for case_id, name in ((CASE_IDS[0], "t1"), (CASE_IDS[2], "flair")):
        path = copies / case_id / f"{case_id}_{name}.nii.gz"
        path.write_bytes(path.read_bytes()[:-1000])
    assert run(copies, "--output", tmp_path / "output" / "patches.h5") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "2 errors in 2 of 3 cases" in told.err
    assert f"{CASE_IDS[0]}_t1.nii.gz" in told.err and f"{CASE_IDS[2]}_flair.nii.gz" in told.err
    assert not (tmp_path / "output").exists()


def test_extraction_tells_warnings_and_keeps_them_in_the_file(copies, tmp_path, capsys):
    twin = copies / "Brats17_TWIN_1"
    shutil.copytree(copies / CASE_IDS[0], twin)
    for path in twin.iterdir():
        path.rename(twin / path.name.replace(CASE_IDS[0], twin.name))
    assert run(copies, "--output", tmp_path / "patches.h5") == 0
    text = "flair, t1, t1ce, t2: the same as of {}: one patient under two ids."
    warnings = {CASE_IDS[0]: [text.format(twin.name)], twin.name: [text.format(CASE_IDS[0])]}
    assert read_settings(tmp_path / "patches.h5")["warnings"] == warnings
    out = capsys.readouterr().out
    for case_id, (sentence,) in warnings.items():
        assert f"{case_id}: {sentence}\n" in out


def test_extraction_tells_what_voxels_show_and_keeps_it_also_if_it_was_killed(
    copies, tmp_path, capsys, monkeypatch
):
    def clip(image):
        np.minimum(image, np.percentile(image[image > 0], 90).astype(image.dtype), out=image)

    change(copies, CASE_IDS[1], "t1", clip)
    assert run(copies, "--output", tmp_path / "patches.h5") == 0
    ((case_id, (sentence,)),) = read_settings(tmp_path / "patches.h5")["warnings"].items()
    assert case_id == CASE_IDS[1] and re.match(r"t1: [\d,]+ voxels .*: clipped\.", sentence)
    assert f"{case_id}: {sentence}" in capsys.readouterr().out

    write_settings = extract_patches.write_settings
    monkeypatch.setattr(extract_patches, "write_settings", interrupt)
    assert run(copies, "--output", tmp_path / "again.h5") == 130
    monkeypatch.setattr(extract_patches, "write_settings", write_settings)
    assert run(copies, "--output", tmp_path / "again.h5", "--resume") == 0
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "patches.h5").read_bytes()


def interrupt(*arguments):
    raise KeyboardInterrupt
