"""The extraction as a program: its file, its repeatability, its messages and exit codes."""

import collections
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK

import extract_patches
from brats.patches.file import AGREEMENT, read_settings
from brats.script import exit_code

ROOT = Path(__file__).parents[1]
DATASETS = [
    f"{split}/{name}"
    for split in ("train", "validation")
    for name in ("images", "labels", "case", "center")
]
# The three of high grade and the one of low grade among the four cases of `cohort`.
CASE_IDS = [f"Brats17_PHANTOM_{index:04d}_1" for index in range(4)]


def arguments(cohort, output, **flags):
    """Returns the command line for six patches per case; flags overwrite."""
    values = {"data_root": cohort, "output": output, "patches_per_case": 6} | flags
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def extract(cohort, output, **flags):
    extract_patches.main(arguments(cohort, output, **flags))
    with h5py.File(output, "r") as file:
        return {name: file[name][:].tobytes() for name in DATASETS}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run(command, **kwargs):
    """Runs the script in a process of its own, in the root of the repository."""
    return subprocess.run(
        [sys.executable, "extract_patches.py", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        **kwargs,
    )


def break_voxel(path):
    """Replaces a link to an image by the image with a NaN, which no header shows."""
    image = SimpleITK.Cast(SimpleITK.ReadImage(str(path)), SimpleITK.sitkFloat32)
    image[0, 0, 0] = float("nan")
    path.unlink()
    SimpleITK.WriteImage(image, str(path))


def label_counts(cohort):
    """Returns the voxels of each class in all segmentations, from the files themselves."""
    paths = sorted(cohort.rglob("*_seg.nii.gz"))
    values = np.concatenate(
        [SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).ravel() for path in paths]
    )
    return np.array([np.count_nonzero(values == label) for label in (0, 1, 2, 4)])


@pytest.fixture(scope="module")
def extracted(cohort, tmp_path_factory):
    """A patch file of the cohort, and the contents of its datasets; read only."""
    path = tmp_path_factory.mktemp("extracted") / "patches.h5"
    return path, extract(cohort, path)


@pytest.mark.parametrize("workers", [1, 3])
def test_same_seed_gives_the_same_patches_with_any_number_of_workers(
    cohort, extracted, tmp_path, workers
):
    assert extract(cohort, tmp_path / "patches.h5", workers=workers) == extracted[1]


def test_another_seed_gives_another_split_and_other_patches_of_each_case(cohort, tmp_path):
    split, places = set(), set()
    for seed in range(3):
        split.add(extract(cohort, tmp_path / f"{seed}.h5", seed=seed)["train/case"])
        every = extract(cohort, tmp_path / f"all{seed}.h5", seed=seed, validation_fraction=0)
        places.add(every["train/center"])
    assert len(split) > 1 and len(places) == 3


def test_patches_of_a_case_do_not_depend_on_how_many_are_validated_on(cohort, extracted, tmp_path):
    extract(cohort, tmp_path / "all.h5", validation_fraction=0)
    with h5py.File(tmp_path / "all.h5", "r") as every, h5py.File(extracted[0], "r") as split:
        assert len(every["validation/case"]) == 0
        for part in ("train", "validation"):
            for case in np.unique(split[f"{part}/case"]):
                images, expected = (
                    file[f"{name}/images"][file[f"{name}/case"][:] == case]
                    for file, name in ((split, part), (every, "train"))
                )
                assert np.array_equal(images, expected)


def test_file_says_how_it_was_made(cohort, extracted):
    settings = read_settings(extracted[0])
    assert {name: settings[name] for name in AGREEMENT} == AGREEMENT
    made = {name: value for name, value in settings.items() if name not in AGREEMENT}
    shares, split = made.pop("class_shares"), made.pop("split")
    assert sorted(made.pop("versions")) == ["SimpleITK", "h5py", "numpy", "python"]
    assert made.pop("commit")
    assert made == {
        "label_schemes": {"2017": [0, 1, 2, 4]},
        "trained_as_background": {},
        "dtype": "float32",
        "patches_per_case": 6,
        "seed": 0,
        "cases": CASE_IDS,
        "warnings": {},
        "data_root": str(cohort),
    }
    assert len(split["validation"]) == 1  # round(0.2 * 4)
    assert sorted(split["train"] + split["validation"]) == CASE_IDS
    counts = label_counts(cohort)
    assert shares == pytest.approx(counts / counts.sum(), rel=1e-12)


def test_a_file_of_a_fold_says_of_which(cohort, extracted, tmp_path, capsys):
    held_out = []
    for fold in range(3):
        path = tmp_path / f"{fold}.h5"
        extract(cohort, path, num_folds=3, fold=fold)
        settings = read_settings(path)
        assert (settings["num_folds"], settings["fold"]) == (3, fold)
        held_out += settings["split"]["validation"]
    assert sorted(held_out) == CASE_IDS
    told = capsys.readouterr().out
    assert "num folds" in told and "validation fraction" not in told
    assert not read_settings(extracted[0]).keys() & {"num_folds", "fold"}


def test_a_file_of_another_fold_is_not_taken_for_complete(cohort, tmp_path, capsys):
    path = tmp_path / "patches.h5"
    extract(cohort, path, num_folds=4, fold=0)
    same = [*arguments(cohort, path, num_folds=4, fold=0), "--resume"]
    assert exit_code(lambda: extract_patches.main(same)) == 0
    assert "is complete" in capsys.readouterr().out
    # Without folds, these cases are split as in the first of four.
    for changed in ({"num_folds": 4, "fold": 1}, {}):
        command = [*arguments(cohort, path, **changed), "--resume"]
        assert exit_code(lambda c=command: extract_patches.main(c)) == 1
        assert f"{path} exists. Add --overwrite" in capsys.readouterr().err


def test_every_patch_belongs_to_a_case_of_its_split(extracted):
    split = read_settings(extracted[0])["split"]
    with h5py.File(extracted[0], "r") as file:
        for name, ids in split.items():
            cases = file[f"{name}/case"][:].tolist()
            assert collections.Counter(CASE_IDS[case] for case in cases) == dict.fromkeys(ids, 6)
            places = np.column_stack([cases, file[f"{name}/center"]])
            assert len(np.unique(places, axis=0)) == len(cases)  # No patch twice.


def test_float16_halves_the_images(cohort, tmp_path):
    extract(cohort, tmp_path / "patches.h5", dtype="float16")
    with h5py.File(tmp_path / "patches.h5", "r") as file:
        assert file["train/images"].dtype == np.float16
    assert read_settings(tmp_path / "patches.h5")["dtype"] == "float16"


def test_output_tells_settings_class_shares_and_the_file(cohort, tmp_path, capsys):
    extract(cohort, tmp_path / "patches.h5")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Extracting patches"
    assert any(line.split() == ["patches", "per", "case", "6"] for line in lines)
    counts = label_counts(cohort)
    names, published = ("normal", "necrosis", "edema", "enhancing"), ("98", "0.18", "1.1", "0.38")
    assert [line.split() for line in lines[-5:-1]] == [
        [name, f"{100 * count / counts.sum():.2f}", f"({original})"]
        for name, count, original in zip(names, counts, published, strict=True)
    ]
    assert lines[-1] == f"Wrote 18 training and 6 validation patches to {tmp_path}/patches.h5"


def test_case_with_fewer_centers_than_asked_for_says_so(cohort, tmp_path, capsys):
    extract(cohort, tmp_path / "patches.h5", patches_per_case=438)
    told = [line for line in capsys.readouterr().out.splitlines() if "admissible centers" in line]
    with h5py.File(tmp_path / "patches.h5", "r") as file:
        cases = np.concatenate([file["train/case"], file["validation/case"]])
    assert told == [
        f"{case_id} has {count} admissible centers; took them all instead of 438."
        for case_id, count in zip(CASE_IDS, np.bincount(cases), strict=True)
    ]


def test_existing_output_is_kept_unless_told_otherwise(cohort, extracted, tmp_path, capsys):
    output = tmp_path / "patches.h5"
    output.write_text("precious")
    assert exit_code(lambda: extract_patches.main(arguments(cohort, output))) == 1
    assert capsys.readouterr().err == (
        f"Error: {output} exists. Add --overwrite, or give another --output.\n"
    )
    assert output.read_text() == "precious"
    extract_patches.main([*arguments(cohort, output), "--overwrite"])
    assert read_settings(output) == read_settings(extracted[0])


def copy_cases(cohort, root):
    """Makes a folder of links to the cases of high grade; returns the path of a file of one."""
    for folder in (cohort / "HGG").iterdir():
        (root / folder.name).mkdir(parents=True)
        for path in folder.iterdir():
            (root / folder.name / path.name).symlink_to(path)
    return root / CASE_IDS[1] / f"{CASE_IDS[1]}_t2.nii.gz"


def test_broken_case_is_named_and_extraction_goes_on_once_it_is_mended(cohort, tmp_path, capsys):
    root, output = tmp_path / "cohort", tmp_path / "output" / "patches.h5"
    broken = copy_cases(cohort, root)
    image = broken.resolve()
    break_voxel(broken)
    assert exit_code(lambda: extract_patches.main(arguments(root, output))) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"Error: {broken} holds NaN in 1 of ")
    assert error.endswith("What was done before is kept: go on with --resume.")
    assert not output.exists()
    broken.unlink()
    broken.symlink_to(image)
    extract_patches.main([*arguments(root, output), "--resume"])
    assert "Going on: 1 of 3 cases are done." in capsys.readouterr().out
    extract_patches.main(arguments(root, tmp_path / "whole.h5"))
    assert output.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert names(output.parent) == ["patches.h5"]


def test_broken_first_case_leaves_nothing(cohort, tmp_path):
    root, output = tmp_path / "cohort", tmp_path / "output" / "patches.h5"
    broken = copy_cases(cohort, root).parent.parent / CASE_IDS[0] / f"{CASE_IDS[0]}_t2.nii.gz"
    break_voxel(broken)
    assert exit_code(lambda: extract_patches.main(arguments(root, output))) == 1
    assert names(output.parent) == []


def test_full_disk_is_foreseen_with_both_sizes(cohort, tmp_path, monkeypatch, capsys):
    # 4 cases of 6 patches of 128 * 128 * (4 channels * 4 bytes + 1 byte) are 6.7 million bytes.
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(0, 0, 6_000_000))
    output = tmp_path / "new" / "patches.h5"
    assert exit_code(lambda: extract_patches.main(arguments(cohort, output))) == 1
    message = f"need 0.00668 GB, and the disk of {output} has 0.006 GB free"
    assert message in capsys.readouterr().err
    assert not output.exists()
    extract_patches.main(arguments(cohort, output, dtype="float16"))  # 24 * 128 * 128 * 9: 3.5 MB
    assert output.exists()


def test_missing_data_is_one_line_and_exit_code_1(tmp_path):
    result = run(arguments(tmp_path / "nowhere", tmp_path / "patches.h5"))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"Error: The data folder {tmp_path}/nowhere does not exist.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patches_per_case", "0"),
        ("patches_per_case", "many"),
        ("validation_fraction", "1"),
        ("dtype", "int8"),
        ("workers", "0"),
        ("seed", "-1"),
    ],
)
def test_wrong_value_names_the_flag_with_exit_code_2(tmp_path, capsys, name, value):
    with pytest.raises(SystemExit) as stopped:
        extract_patches.main(arguments(tmp_path, tmp_path / "patches.h5", **{name: value}))
    assert stopped.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert f"--{name.replace('_', '-')}" in message and value in message


def test_extraction_runs_without_keras_its_backends_and_dask(cohort, tmp_path):
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name in ("keras", "tensorflow", "jax", "torch", "dask", "distributed"):
        (stubs / f"{name}.py").write_text(f"raise ImportError('{name} was imported')\n")
    environment = os.environ | {"PYTHONPATH": str(stubs)}
    result = run(arguments(cohort, tmp_path / "patches.h5"), env=environment)
    assert result.returncode == 0, result.stderr
    assert len(read_settings(tmp_path / "patches.h5")["cases"]) == 4
