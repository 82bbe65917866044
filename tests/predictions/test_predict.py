"""predict.py with a constant network, and scoring what other tools have written."""

import csv
import dataclasses
import itertools
import json
import os
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import SimpleITK

import predict
from brats.cases.find import find_cases
from brats.scores.tables import write_scores
from brats.script import exit_code
from brats.volumes.files import read_volume, write_volume
from engine import procedure
from model import build_resunet
from tests.synthetic import write_constant_network

TUMOR = ("necrosis", "edema", "enhancing")
PERFECT = {"dice": 1, "hausdorff95_mm": 0, "lesion_dice": 1, "num_missed": 0, "num_false": 0}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network that gives every pixel 0.5 of enhancing, 0.3 of necrosis and 0.1 of the others."""
    path = tmp_path_factory.mktemp("network") / "constant.keras"
    return write_constant_network(path, [0.1, 0.3, 0.1, 0.5])


def run(cohort, output, *more):
    return exit_code(
        lambda: predict.main(["--data-root", str(cohort), "--output", str(output), *more])
    )


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def others(cohort, tmp_path):
    """A folder with the ground truth of every case, as another tool might have found it."""
    for case in find_cases(cohort, need_segmentation=True):
        shutil.copy(case.segmentation, tmp_path / f"{case.id}.nii.gz")
    return tmp_path


def test_segmentations_of_another_tool_are_scored_and_left_alone(cohort, others, capsys):
    before = {path.name: path.read_bytes() for path in others.glob("*.nii.gz")}
    assert run(cohort, others, "--score-only") == 0
    assert {path.name: path.read_bytes() for path in others.glob("*.nii.gz")} == before
    rows = table(others / "scores.csv")
    assert len(rows) == 4 * 3
    for row in rows:
        assert {name: float(row[name]) for name in PERFECT} == PERFECT
    assert not (others / "config.json").exists()
    assert len(list((others / "figures").glob("*.png"))) >= 4
    assert "Mean over 4 cases" in capsys.readouterr().out


def test_cases_stored_along_other_axes_are_segmented_and_scored_alike(cohort, network, tmp_path):
    (case,) = find_cases(cohort, need_segmentation=True)[:1]
    for name, orientations in (("as", ["LPS"] * 5), ("other", ["SAR", "SAR", "RAS", "PIL", "ASR"])):
        folder = tmp_path / name / case.id
        folder.mkdir(parents=True)
        paths = [*case.images.values(), case.segmentation]
        for path, orientation in zip(paths, orientations, strict=True):
            image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), orientation)
            SimpleITK.WriteImage(image, str(folder / path.name))
        arguments = ["--weights", str(network), "--probabilities"]
        assert run(tmp_path / name, tmp_path / f"{name}-out", *arguments) == 0
    for path in (tmp_path / "as-out").rglob("*"):
        other = tmp_path / "other-out" / path.relative_to(tmp_path / "as-out")
        if path.name.endswith(".nii.gz"):
            image = SimpleITK.ReadImage(str(other))
            # As the first modality is stored.
            stored = SimpleITK.ReadImage(
                str(tmp_path / "other" / case.id / f"{case.id}_flair.nii.gz")
            )
            assert image.GetDirection() == stored.GetDirection()
            assert image.GetOrigin() == stored.GetOrigin()
            assert image.GetSize() == stored.GetSize()
            turned = SimpleITK.DICOMOrient(image, "LPS")
            expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
            np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(turned), expected)
        elif path.suffix in (".png", ".csv"):
            assert path.read_bytes() == other.read_bytes()


def test_a_broken_segmentation_is_told_and_the_others_are_scored(cohort, others, capsys):
    assert run(cohort, others, "--score-only") == 0
    capsys.readouterr()
    ids = sorted(path.name.removesuffix(".nii.gz") for path in others.glob("*.nii.gz"))
    torn, moved = (others / f"{ids[index]}.nii.gz" for index in (1, 2))
    torn.write_bytes(torn.read_bytes()[:200])
    labels, geometry = read_volume(moved)
    write_volume(moved, labels[1:], geometry)
    assert run(cohort, others, "--score-only") == 1
    error = capsys.readouterr().err
    for path in (torn, moved):
        assert sum(str(path) in line and "Error: " in line for line in error.splitlines()) == 1
    assert f"2 of 4 cases failed, see above: {ids[1]}, {ids[2]}." in error.splitlines()[-1]
    # Their scores of the first time are gone from the tables.
    assert {row["case"] for row in table(others / "scores.csv")} == {ids[0], ids[3]}
    assert {row["cases"] for row in table(others / "summary.csv")} == {"2"}
    report = (others / "report.html").read_text()
    assert re.findall('<tr class="failed" data-case="([^"]*)"', report) == [ids[1], ids[2]]


def test_a_case_that_only_the_report_cannot_read_is_told_and_fails(cohort, others, capsys):
    ids = sorted(path.name.removesuffix(".nii.gz") for path in others.glob("*.nii.gz"))
    assert run(cohort, others, "--score-only", "--cases", ids[0]) == 0
    # Not asked for, and yet in the report: the folder has its segmentation.
    (others / f"{ids[1]}.nii.gz").write_bytes(b"damaged")
    capsys.readouterr()
    assert run(cohort, others, "--score-only", "--cases", ids[0]) == 1
    *_, told, last = capsys.readouterr().err.splitlines()
    assert f"Error: {ids[1]} is not in the report: " in told and f"{ids[1]}.nii.gz" in told
    assert f"1 of 2 cases failed, see above: {ids[1]}." in last
    report = (others / "report.html").read_text()
    assert re.findall('<tr class="failed" data-case="([^"]*)"', report) == [ids[1]]
    assert "<p>3 cases" in report


def test_a_case_asked_for_without_a_segmentation_fails(cohort, others, capsys):
    ids = sorted(path.name.removesuffix(".nii.gz") for path in others.glob("*.nii.gz"))
    missing = others / f"{ids[0]}.nii.gz"
    missing.unlink()
    assert run(cohort, others, "--score-only") == 0  # Not asked for: not missed.
    assert run(cohort, others, "--score-only", "--cases", *ids[:2]) == 1
    assert f"Case {ids[0]} has no segmentation {missing}" in capsys.readouterr().err


def test_a_folder_without_segmentations_is_told(cohort, tmp_path, capsys):
    assert run(cohort, tmp_path, "--score-only") == 1
    error = capsys.readouterr().err
    assert f"{tmp_path} has no segmentation of a case with ground truth" in error
    assert list(tmp_path.iterdir()) == []


def test_a_case_without_ground_truth_cannot_be_scored(cohort, others, tmp_path_factory, capsys):
    root = tmp_path_factory.mktemp("unlabelled")
    shutil.copytree(cohort, root, dirs_exist_ok=True)
    case = find_cases(root, need_segmentation=True)[0]
    case.segmentation.unlink()
    assert run(root, others, "--score-only", "--cases", case.id) == 1
    assert f"Case {case.id} cannot be scored: {case.folder} has no" in capsys.readouterr().err
    assert run(root, others, "--score-only") == 0
    assert case.id not in {row["case"] for row in table(others / "scores.csv")}


def test_probabilities_lie_where_the_case_lies_one_volume_per_class(cohort, network, tmp_path):
    case = find_cases(cohort, need_segmentation=False)[0]
    arguments = ["--weights", str(network), "--cases", case.id, "--probabilities"]
    assert run(cohort, tmp_path, *arguments) == 0
    flair, geometry = read_volume(case.images["flair"])
    assert len(list((tmp_path / "probabilities").iterdir())) == 3
    for name, expected in zip(TUMOR, (0.3, 0.1, 0.5), strict=True):
        volume, place = read_volume(tmp_path / "probabilities" / f"{case.id}-{name}.nii.gz")
        assert volume.dtype == np.float32 and place.is_close_to(geometry)
        np.testing.assert_allclose(volume[flair != 0], expected, rtol=0, atol=1 / 8192 + 1e-6)
        assert volume[0, 0, 0] == 0


def test_several_networks_of_no_run_are_averaged(cohort, network, tmp_path, capsys):
    case = find_cases(cohort, need_segmentation=False)[0]
    # The other one gives the classes 0.1, 0.3, 0.1, 0.5.
    other = write_constant_network(tmp_path / "other.keras", (0.3, 0.3, 0.3, 0.1))
    arguments = ["--weights", str(network), str(other), "--cases", case.id, "--probabilities"]
    assert run(cohort, tmp_path / "out", *arguments) == 0
    flair = read_volume(case.images["flair"])[0]
    for name, expected in zip(TUMOR, (0.3, 0.2, 0.3), strict=True):
        volume = read_volume(tmp_path / "out" / "probabilities" / f"{case.id}-{name}.nii.gz")[0]
        np.testing.assert_allclose(volume[flair != 0], expected, rtol=0, atol=1 / 8192 + 1e-6)
    record = json.loads((tmp_path / "out" / "config.json").read_text())
    assert record["networks"] == [str(network), str(other)]
    assert record["settings"].keys() & {"weights", "run_dir", "checkpoint"} == {"weights"}
    assert f"weights               {network} {other}\n" in capsys.readouterr().out


def test_what_is_mended_and_averaged_is_in_the_volume_and_in_the_record(cohort, network, tmp_path):
    case = find_cases(cohort, need_segmentation=False)[0]
    arguments = ["--weights", str(network), "--cases", case.id]
    mending = ["--min-enhancing-voxels", "99999999", "--flips", "--fill-holes"]
    assert run(cohort, tmp_path / "plain", *arguments) == 0
    assert run(cohort, tmp_path / "mended", *arguments, *mending) == 0
    volumes = [
        read_volume(tmp_path / folder / f"{case.id}.nii.gz")[0] for folder in ("plain", "mended")
    ]
    assert set(np.unique(volumes[0])) == {0, 4}
    np.testing.assert_array_equal(volumes[1], np.where(volumes[0] == 4, 1, 0))
    record = (tmp_path / "mended" / "config.json").read_text()
    assert '"min_enhancing_voxels": 99999999' in record and '"flips": true' in record


def test_mending_that_leaves_nothing_is_no_error(cohort, network, tmp_path):
    case = find_cases(cohort, need_segmentation=False)[0]
    arguments = ["--weights", str(network), "--cases", case.id]
    assert run(cohort, tmp_path, *arguments, "--min-lesion-voxels", "99999999") == 0
    assert not read_volume(tmp_path / f"{case.id}.nii.gz")[0].any()
    assert {row["dice"] for row in table(tmp_path / "scores.csv")} == {"0.0"}


def contents(folder):
    """Returns the bytes of every file in a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def two_cases(cohort, network):
    """Two ids, and the command line to segment them with their probabilities."""
    ids = [case.id for case in find_cases(cohort, need_segmentation=False)[:2]]
    return ids, ["--weights", str(network), "--probabilities", "--cases", *ids]


@pytest.fixture(scope="module")
def segmented(cohort, two_cases, tmp_path_factory):
    """The folder of the two cases segmented, and a copy of it: its record names its path."""
    output = tmp_path_factory.mktemp("segmented") / "out"
    assert run(cohort, output, *two_cases[1]) == 0
    return output, shutil.copytree(output, output.with_name("copy"))


@pytest.fixture
def finished(segmented):
    """The path of a folder that holds the two cases segmented, whatever a test did to it before."""
    output, copy = segmented
    shutil.rmtree(output)
    return shutil.copytree(copy, output)


def interrupt_at(monkeypatch, number):
    """Ends what runs, as Ctrl-C does, before one of the files gets its name."""
    replace, count = Path.replace, itertools.count(1)

    def replace_or_stop(path, target):
        if next(count) == number:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replace_or_stop)


def never(*arguments):
    pytest.fail("The network was run.")


def test_interrupted_before_any_of_its_files_it_goes_on_to_the_same_ones(
    cohort, two_cases, finished, monkeypatch
):
    expected = contents(finished)
    # config.json; per case four volumes and two pictures; two tables; scores.png and the report.
    assert len(expected) == 1 + 2 * 6 + 2 + 2
    # Before the first case's scores, summary and second picture; before the report.
    for number in (6, 7, 9, 19):
        shutil.rmtree(finished)
        with monkeypatch.context() as patch:
            interrupt_at(patch, number)
            assert run(cohort, finished, *two_cases[1]) == 130
        left = contents(finished)
        whole = {name for name in left if left[name] == expected[name]}
        assert left.keys() - whole <= {"scores.csv", "summary.csv"}  # Of the first case alone.
        assert left.keys() < expected.keys()
        assert run(cohort, finished, *two_cases[1]) == 0
        assert contents(finished) == expected, number


def test_what_is_done_is_told_and_left_alone(cohort, two_cases, tmp_path, monkeypatch, capsys):
    ids, arguments = two_cases
    assert run(cohort, tmp_path, *arguments[:3], "--cases", ids[0]) == 0
    volume = tmp_path / f"{ids[0]}.nii.gz"
    before = volume.stat().st_ino, volume.stat().st_mtime_ns
    assert run(cohort, tmp_path, *arguments) == 0
    assert "1 are done already; --overwrite would segment them again." in capsys.readouterr().out
    assert (volume.stat().st_ino, volume.stat().st_mtime_ns) == before
    assert {row["case"] for row in table(tmp_path / "scores.csv")} == set(ids)
    report = (tmp_path / "report.html").read_text()
    assert re.findall('<tr data-case="([^"]*)"', report) == ids
    assert run(cohort, tmp_path, *arguments, "--overwrite") == 0
    assert (volume.stat().st_ino, volume.stat().st_mtime_ns) != before


@pytest.mark.parametrize("lost", ["a row", "the scores", "the pictures", "an old picture"])
def test_what_is_missing_of_a_segmented_case_is_made_without_the_network(
    cohort, two_cases, finished, monkeypatch, lost
):
    ids, arguments = two_cases
    expected = contents(finished)
    if lost == "a row":
        write_scores(finished, ids[1], [])
    elif lost == "the scores":
        (finished / "scores.csv").unlink()
    elif lost == "the pictures":
        shutil.rmtree(finished / "figures")
    else:  # As after --overwrite that was ended before the pictures of the new volume.
        picture = finished / "figures" / f"{ids[1]}-modalities.png"
        picture.write_text("of the volume before")
        os.utime(picture, (0, 0))
    monkeypatch.setattr(procedure, "build_segmenter", lambda *settings: never)
    assert run(cohort, finished, *arguments) == 0
    assert contents(finished) == expected


@pytest.mark.parametrize("damage", ["cut short", "gone", "without probabilities"])
def test_a_segmentation_that_is_not_whole_is_made_again(cohort, two_cases, finished, damage):
    ids, arguments = two_cases
    expected = contents(finished)
    name = f"probabilities/{ids[1]}-edema" if damage.startswith("without") else ids[1]
    path = finished / f"{name}.nii.gz"
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-300])
    else:
        path.unlink()
    assert run(cohort, finished, *arguments) == 0
    assert contents(finished) == expected


def test_a_segmentation_of_another_tool_is_not_taken_for_ours(cohort, two_cases, tmp_path, capsys):
    ids, arguments = two_cases
    assert run(cohort, tmp_path, *arguments[:3], "--cases", ids[0]) == 0
    foreign = tmp_path / f"{ids[1]}.nii.gz"
    case = find_cases(cohort, need_segmentation=False)[1]
    shutil.copy(case.segmentation, foreign)
    before = contents(tmp_path)
    capsys.readouterr()
    assert run(cohort, tmp_path, *arguments) == 1
    assert f"{foreign} exists, one of 1. Add --overwrite" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_flips_change_the_probabilities(cohort, tmp_path):
    keras.utils.set_random_seed(0)
    build_resunet((None, None, 4), base_filters=2, depth=1).save(tmp_path / "random.keras")
    case = find_cases(cohort, need_segmentation=False)[0]
    arguments = ["--weights", str(tmp_path / "random.keras"), "--cases", case.id, "--probabilities"]
    assert run(cohort, tmp_path / "plain", *arguments) == 0
    assert run(cohort, tmp_path / "flips", *arguments, "--flips") == 0
    name = f"{case.id}-edema.nii.gz"
    plain, flips = (
        read_volume(tmp_path / folder / "probabilities" / name)[0] for folder in ("plain", "flips")
    )
    assert np.abs(plain - flips).max() > 0.01


def test_holes_are_filled_if_asked(cohort, network, tmp_path, monkeypatch):
    def build_holed(*_):
        def segment(channels):
            classes = np.zeros(channels.shape[:3], dtype=np.uint8)
            classes[5:8, 70:73, 70:73] = 2
            classes[6, 71, 71] = 0
            return classes, None

        return segment

    monkeypatch.setattr(procedure, "build_segmenter", build_holed)
    case = find_cases(cohort, need_segmentation=False)[0]
    arguments = ["--weights", str(network), "--cases", case.id]
    for folder, flags, expected in (("plain", [], 0), ("filled", ["--fill-holes"], 2)):
        assert run(cohort, tmp_path / folder, *arguments, *flags) == 0
        assert read_volume(tmp_path / folder / f"{case.id}.nii.gz")[0][6, 71, 71] == expected


def test_a_file_that_the_system_cannot_read_stops_no_other_case(
    cohort, network, others, tmp_path_factory, capsys
):
    root = tmp_path_factory.mktemp("broken")
    shutil.copytree(cohort, root, dirs_exist_ok=True)
    case, *rest = find_cases(root, need_segmentation=True)
    image = case.images["t1"]
    assert run(root, others, "--score-only") == 0
    assert len(list((others / "figures").glob(f"{case.id}-*"))) == 2
    image.unlink()
    image.symlink_to(image.name)  # The system calls it a loop.
    output = tmp_path_factory.mktemp("output")
    for arguments in ((output, "--weights", str(network)), (others, "--score-only")):
        capsys.readouterr()
        assert run(root, *arguments) == 1
        assert f"Cannot read {image}: " in capsys.readouterr().err
        scored = {row["case"] for row in table(arguments[0] / "scores.csv")}
        assert scored == {other.id for other in rest}
        # What it had of an earlier time is gone.
        assert not list((arguments[0] / "figures").glob(f"{case.id}-*"))


def test_what_a_killed_worker_left_is_removed_though_a_case_failed(
    cohort, network, tmp_path, monkeypatch, capsys
):
    def follow(results, num_cases):
        failures = {result.case_id: "torn" for result in results}
        (tmp_path / "figures" / ".writing-node-7-a.png").write_text("")
        return failures

    monkeypatch.setattr(predict, "follow", follow)
    assert run(cohort, tmp_path, "--weights", str(network)) == 1
    assert "4 of 4 cases failed, see above: Brats17" in capsys.readouterr().err
    assert not list(tmp_path.rglob(".writing-*"))


def test_no_scores_leave_no_box_plots(cohort, others, capsys):
    assert run(cohort, others, "--score-only") == 0
    for path in others.glob("*.nii.gz"):
        path.write_bytes(b"")
    assert run(cohort, others, "--score-only") == 1
    for name in ("scores.csv", "summary.csv", "scores.png"):
        assert not (others / name).exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("scores.csv", "name,points\na,1\n", "scores.csv has no case"),
        ("summary.csv", "mine", "summary.csv stands there without scores"),
        ("config.json", "{", "config.json is damaged"),
    ],
)
def test_foreign_files_are_told_before_any_score_is_written(
    name, text, message, cohort, others, capsys
):
    (others / name).write_text(text)
    assert run(cohort, others, "--score-only") == 1
    assert message in capsys.readouterr().err
    assert (others / name).read_text() == text
    assert not (others / "figures").exists()


@pytest.mark.parametrize("text", ["[3]", '{"networks": 3}', '{"method": "x"}'])
def test_a_config_of_another_tool_is_none_of_ours(text, cohort, others):
    (others / "config.json").write_text(text)
    case = find_cases(cohort, need_segmentation=True)[0]
    assert run(cohort, others, "--score-only", "--cases", case.id) == 0
    assert (others / "config.json").read_text() == text


def test_the_output_may_not_lie_among_the_cases(cohort, network, capsys):
    output = cohort / "predictions"
    assert run(cohort, output, "--weights", str(network)) == 1
    assert f"--output {output} lies in --data-root {cohort}" in capsys.readouterr().err
    assert not output.exists()


def test_a_dropped_geometry_is_told_in_numbers(cohort, others, capsys):
    case = find_cases(cohort, need_segmentation=True)[0]
    labels, geometry = read_volume(others / f"{case.id}.nii.gz")
    dropped = dataclasses.replace(geometry, origin_mm=(0.0, 0.0, 0.0))
    write_volume(others / f"{case.id}.nii.gz", labels, dropped)
    assert run(cohort, others, "--score-only") == 1
    error = capsys.readouterr().err
    assert "origin (0, 0, 0)" in error and "Copy the case's geometry." in error
    assert "Geometry(" not in error
