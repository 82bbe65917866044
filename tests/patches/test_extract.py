"""Extraction: one file per case, and what running it again does."""

import collections
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK

import extract_patches
from brats.patches.file import AGREEMENT, read_case_file
from brats.phantom.cohort import write_cohort
from brats.script import exit_code
from tests.synthetic import contents

ROOT = Path(__file__).parents[2]
CASE_IDS = [f"Brats17_PHANTOM_{index:04d}_1" for index in range(4)]


def extract(root, output, *more, **flags):
    """Extracts six patches per case; returns the exit code."""
    flags = {"data_root": root, "output": output, "patches_per_case": 6, "workers": 1} | flags
    command = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    return exit_code(lambda: extract_patches.main([*command, *more]))


def datasets(folder):
    found = {}
    for path in folder.iterdir():
        with h5py.File(path) as file:
            found[path.name] = {name: file[name][()].tobytes() for name in file}
    return found


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def last_error(capsys):
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def root(cohort, tmp_path):
    """A copy of the cohort, to be changed."""
    return shutil.copytree(cohort, tmp_path / "cases")


@pytest.fixture
def output(patches, tmp_path):
    """A copy of the patch files of the cohort, to be changed."""
    return shutil.copytree(patches, tmp_path / "patches")


def image_path(root, index, name="t2"):
    return next(root.glob(f"*/{CASE_IDS[index]}/*_{name}.nii.gz"))


def test_every_case_has_a_file_that_says_how_it_was_made(cohort, patches):
    assert sorted(contents(patches)) == [f"{case_id}.h5" for case_id in CASE_IDS]
    file = read_case_file(patches / f"{CASE_IDS[3]}.h5")
    made = {name: file.description[name] for name in file.description if name not in AGREEMENT}
    assert sorted(made.pop("versions")) == ["SimpleITK", "h5py", "numpy", "python"]
    assert made.pop("commit")
    counts, inputs = made.pop("class_counts"), made.pop("inputs")
    assert made == {
        "case": CASE_IDS[3],
        "patient": CASE_IDS[3],
        "grade": "LGG",
        "edition": "2017",
        "merged": {},
        "labels": {"normal": 0, "necrosis": 1, "edema": 2, "enhancing": 4},
        "trained_as_background": {},
        "patches_per_case": 6,
        "centers": "published",
        "dtype": "float32",
        "seed": 0,
        "warnings": [
            "The brain has 79.7 ml, which is unlikely: the voxel size in the header may be wrong."
        ],
    }
    assert sum(counts) == 20 * 160 * 144 and counts[3] == 0
    for name, state in inputs.items():
        path = cohort / "LGG" / name
        assert (state["size"], state["time"]) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert [name.rpartition("_")[2] for name in inputs] == [
        f"{end}.nii.gz" for end in ("flair", "t1", "t1ce", "t2", "seg")
    ]


def test_one_thread_and_two_give_the_same_bytes(cohort, patches, tmp_path):
    assert extract(cohort, tmp_path, workers=2) == 0
    assert contents(tmp_path) == contents(patches)


def test_the_patches_of_a_case_depend_on_no_other_case(cohort, patches, tmp_path):
    # Neither which other cases there are, nor where the data folder lies, changes a byte.
    folder = tmp_path / "cases" / "HGG" / CASE_IDS[2]
    folder.parent.mkdir(parents=True)
    folder.symlink_to(cohort / "HGG" / CASE_IDS[2])
    assert extract(tmp_path / "cases", tmp_path / "alone") == 0
    assert extract(cohort, tmp_path / "two", "--cases", CASE_IDS[2], CASE_IDS[0]) == 0
    every = contents(patches)
    assert contents(tmp_path / "alone").items() <= every.items()
    assert contents(tmp_path / "two").items() <= every.items()
    assert sorted(contents(tmp_path / "two")) == [f"{CASE_IDS[index]}.h5" for index in (0, 2)]


def test_another_seed_gives_other_patches_of_each_case(cohort, patches, tmp_path):
    assert extract(cohort, tmp_path, seed=1) == 0
    before, after = datasets(patches), datasets(tmp_path)
    assert all(before[name]["center"] != after[name]["center"] for name in before)


def test_the_class_shares_are_printed_beside_those_of_the_original(cohort, tmp_path, capsys):
    assert extract(cohort, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    labels = np.concatenate(
        [
            SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).ravel()
            for path in cohort.rglob("*_seg.nii.gz")
        ]
    )
    shares = [f"{100 * np.mean(labels == label):.2f}" for label in (0, 1, 2, 4)]
    names, published = ("normal", "necrosis", "edema", "enhancing"), ("98", "0.18", "1.1", "0.38")
    assert [line.split() for line in lines[-5:-1]] == [
        [name, share, f"({original})"]
        for name, share, original in zip(names, shares, published, strict=True)
    ]
    assert lines[-1] == f"24 patches of 4 cases are in {tmp_path}"
    assert lines[0] == "Extracting patches" and "  patches per case  6" in lines


def test_a_case_with_fewer_centers_than_asked_for_gives_them_all(cohort, tmp_path, capsys):
    arguments = {"patches_per_case": 438}
    assert extract(cohort, tmp_path, "--cases", CASE_IDS[0], **arguments) == 0
    number = read_case_file(tmp_path / f"{CASE_IDS[0]}.h5").num_patches
    assert 0 < number < 438
    assert f"{CASE_IDS[0]}: only {number} voxels can be centers" in capsys.readouterr().out


def test_what_is_there_is_left_alone(cohort, output):
    before = times(output)
    assert extract(cohort, output) == 0
    assert times(output) == before


def test_an_added_case_is_extracted_alone(cohort, output, patches):
    (output / f"{CASE_IDS[1]}.h5").unlink()  # As if it had come later.
    before = times(output)
    assert extract(cohort, output) == 0
    assert times(output).items() > before.items()
    assert contents(output) == contents(patches)


@pytest.mark.parametrize(
    ("name", "made", "wanted"),
    [
        ("patches-per-case", 6, 7),
        ("centers", "published", "balanced"),
        ("dtype", "float32", "float16"),
        ("seed", 0, 1),
    ],
)
def test_other_settings_are_an_error_that_names_both_values(
    cohort, output, capsys, name, made, wanted
):
    before = times(output)
    assert extract(cohort, output, **{name.replace("-", "_"): wanted}) == 1
    error = last_error(capsys)
    assert f"{CASE_IDS[0]}.h5 was made with --{name} {made}, not {wanted}." in error
    assert "--overwrite" in error and times(output) == before


def test_overwrite_extracts_all_again(cohort, output):
    assert extract(cohort, output, "--overwrite", seed=1) == 0
    for path in output.iterdir():
        assert read_case_file(path).description["seed"] == 1


def test_a_case_whose_input_changed_is_extracted_again(root, output, capsys):
    before = times(output)
    path = image_path(root, 2)
    image = SimpleITK.ReadImage(str(path))
    image[70, 80, 9] += 1
    SimpleITK.WriteImage(image, str(path))
    assert extract(root, output) == 0
    told = f"{CASE_IDS[2]} is extracted again: {CASE_IDS[2]}/{path.name} changed."
    assert told in capsys.readouterr().out
    changed = [name for name, time in times(output).items() if time != before[name]]
    assert changed == [f"{CASE_IDS[2]}.h5"]
    assert extract(root, output) == 0  # The new input is recorded.
    assert "again" not in capsys.readouterr().out


def test_a_case_whose_input_was_only_touched_or_copied_is_left_alone(root, output):
    before = times(output)
    os.utime(image_path(root, 1), (0, 0))
    assert extract(root, output) == 0
    assert times(output) == before


def test_one_broken_case_of_five_holds_up_no_other(tmp_path, capsys):
    root, output = tmp_path / "cases", tmp_path / "patches"
    write_cohort(root, num_cases=5, seed=0, shape=(8, 130, 130), naming="2021")
    broken = sorted(root.rglob("*_t1.nii.gz"))[1]
    case_id, content = broken.parent.name, broken.read_bytes()
    broken.write_bytes(content[:2000])
    assert extract(root, output, workers=2) == 1
    *messages, last = capsys.readouterr().err.splitlines()
    assert sum("Error: " in text and str(broken) in text for text in messages) == 1
    assert last.startswith(f"Error: 1 of 5 cases failed, see above: {case_id}.")
    assert len(contents(output)) == 4 and f"{case_id}.h5" not in contents(output)
    before = times(output)
    broken.write_bytes(content)
    assert extract(root, output) == 0
    assert times(output).items() > before.items()
    assert times(output).keys() - before.keys() == {f"{case_id}.h5"}


def test_an_incomplete_case_holds_up_no_other(root, tmp_path, capsys):
    image_path(root, 1, "seg").unlink()
    assert extract(root, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert f"{CASE_IDS[1]} has 0 files" in error
    assert f"1 of 4 cases failed, see above: {CASE_IDS[1]}." in error.splitlines()[-1]
    assert len(contents(tmp_path / "out")) == 3


def test_a_done_case_whose_image_cannot_be_read_any_more_holds_up_no_other(root, output, capsys):
    path = image_path(root, 1)
    path.unlink()
    path.symlink_to(path.name)  # The system calls it a loop.
    (output / f"{CASE_IDS[2]}.h5").unlink()
    assert extract(root, output) == 1
    error = capsys.readouterr().err
    assert f"Error: Cannot read {path}" in error
    assert f"1 of 4 cases failed, see above: {CASE_IDS[1]}." in error
    assert len(contents(output)) == 4


def test_a_damaged_patch_file_is_named_and_the_others_are_extracted(cohort, output, capsys):
    damaged = output / f"{CASE_IDS[0]}.h5"
    os.truncate(damaged, 5000)
    (output / f"{CASE_IDS[1]}.h5").unlink()
    assert extract(cohort, output) == 1
    error = capsys.readouterr().err
    assert f"Error: {damaged} is a damaged HDF5 file" in error
    assert f"1 of 4 cases failed, see above: {CASE_IDS[0]}." in error
    assert read_case_file(output / f"{CASE_IDS[1]}.h5").num_patches == 6
    assert extract(cohort, output, "--overwrite", "--cases", CASE_IDS[0]) == 0
    assert read_case_file(damaged).num_patches == 6


def test_too_little_room_is_an_error_with_both_sizes(cohort, tmp_path, monkeypatch, capsys):
    # 4 cases of 6 patches of 128 * 128 * (4 channels * 4 bytes + 1 byte) are 6.7 million bytes.
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(0, 0, 6_000_000))
    assert extract(cohort, tmp_path) == 1
    assert f"need 0.00668 GB, and the disk of {tmp_path} has 0.006 GB" in last_error(capsys)
    assert contents(tmp_path) == {}
    assert extract(cohort, tmp_path, dtype="float16") == 0  # 3.5 million bytes.


def test_what_a_killed_process_left_is_removed(cohort, output, patches):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = os.uname().nodename.replace("-", "_")
    (output / f".writing-{host}-{ended.pid}-x.h5").write_text("half")
    assert extract(cohort, output) == 0
    assert contents(output) == contents(patches)
