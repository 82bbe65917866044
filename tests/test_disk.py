"""A disk that is full or read-only: the error names the file, the old one stays, nothing is left.

The disks are real, some kilobytes of memory; mounting them takes the superuser.
"""

import os
import shutil
import subprocess
import tempfile
from collections import namedtuple

import keras
import numpy as np
import pytest

import extract_patches
from brats import patch_file
from brats.files import replacing, write_json, write_table
from brats.patches.file import append_case, laying_out, write_settings
from brats.pictures.boxes import write_score_boxes
from brats.pictures.curves import write_learning_curves
from brats.pictures.overlays import write_overlays
from brats.predictions.evaluation import segmentation_path
from brats.predictions.record import write_probabilities
from brats.report.page import write_report
from brats.script import exit_code
from brats.unfinished import resuming
from brats.volumes.files import write_volume
from brats.volumes.geometry import Geometry
from engine.runs.event_file import EventFile
from tests.synthetic import make_case, noise_patches, write_case

GEOMETRY = Geometry((1.0,) * 3, (0.0,) * 3, (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
NOISE = np.random.default_rng(0).integers(0, 255, (20, 30, 40), dtype=np.uint8)


def write_network(path):
    inputs = keras.Input((None, None, 4))
    network = keras.Model(inputs, keras.layers.Conv2D(30, 9)(inputs))
    with replacing(path) as temporary:
        network.save(temporary)


def write_patches(path):
    with replacing(path) as temporary, laying_out(temporary, "float32") as (file, _):
        append_case(file["train"], 0, noise_patches(1, np.random.default_rng(0)))
        write_settings(file, {})


def write_in_steps(path):
    with resuming(path, {}, resume=False) as unfinished:
        unfinished.path.write_bytes(NOISE.tobytes())


WRITERS = {
    "record.json": lambda path: write_json(path, NOISE.tolist()),
    "table.csv": lambda path: write_table(path, [{"value": item} for item in range(9999)]),
    "volume.nii.gz": lambda path: write_volume(path, NOISE, GEOMETRY),
    "probabilities/a-necrosis.nii.gz": lambda path: write_probabilities(
        path.parents[1], make_case("a"), np.stack([NOISE / 255] * 4, axis=-1), GEOMETRY
    ),
    "overlays.png": lambda path: write_overlays(path, "", NOISE[0], NOISE[0] % 4),
    "scores.png": lambda path: write_score_boxes(path, [{"region": "whole", "dice": 0.5}]),
    "curves.png": lambda path: write_learning_curves(
        path, [{"epoch": 1, "loss": 1.0, "learning_rate": 0.1}]
    ),
    "report.html": lambda path: write_report(path.parent, []),
    "network.keras": write_network,
    "patches.h5": write_patches,
    "steps.h5": write_in_steps,
}
every_writer = pytest.mark.parametrize("name", WRITERS)


def mount(folder, *options):
    subprocess.run(["mount", *options, folder], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path):
    """A folder that is a disk of its own, of 64 kB; `mount` changes it."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small disk takes the superuser")
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount(folder, "-t", "tmpfs", "-o", "size=64k", "none")
    except subprocess.CalledProcessError:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def contents(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def with_old_file(disk, name):
    """Makes an older file of that name, and fills the disk but for 4 kB; returns its path."""
    path = disk / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("old")
    free = shutil.disk_usage(disk).free
    (disk / "filling").write_bytes(bytes(free - 4096))
    return path


@every_writer
def test_on_a_full_disk_the_error_names_the_file_and_the_old_one_stays(disk, name):
    path = with_old_file(disk, name)
    before = contents(disk)
    with pytest.raises(OSError, match=f"Cannot write {path}[.:]"):
        WRITERS[name](path)
    assert contents(disk) == before


@every_writer
def test_on_a_read_only_disk_the_folder_is_named_and_nothing_changes(disk, name):
    path = with_old_file(disk, name)
    before = contents(disk)
    mount(disk, "-o", "remount,ro")
    with pytest.raises(OSError, match=f"The folder {path.parent} is not writable"):
        WRITERS[name](path)
    assert contents(disk) == before


# The 4 kB that are left do not take the large slice; they take the small one, but not the volume.
@pytest.mark.parametrize(
    ("shape", "name"), [((1, 120, 200), "thumbnail.png"), ((20, 30, 40), "volume.nii")]
)
def test_a_full_disk_of_temporary_files_is_told_and_no_fault_of_a_case(
    shape, name, disk, tmp_path, monkeypatch
):
    noise = NOISE.reshape(shape)
    case = write_case(tmp_path / "case", GEOMETRY, noise)
    write_volume(segmentation_path(tmp_path, case), noise % 3, GEOMETRY)
    (disk / "filling").write_bytes(bytes(shutil.disk_usage(disk).free - 4096))
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    with pytest.raises(OSError, match=f"Cannot write {disk}/.*/{name}. Is the disk full"):
        write_report(tmp_path, [case])
    assert not (tmp_path / "report.html").exists()


def test_a_disk_that_becomes_read_only_meanwhile_is_told_with_the_file(disk):
    path = disk / "file"
    path.write_text("old")
    message = f"Cannot write {path}: Read-only file system."
    with pytest.raises(OSError, match=message), replacing(path) as temporary:
        mount(disk, "-o", "remount,ro")
        temporary.write_text("new")
    assert contents(disk) == {"file": b"old"}


@pytest.mark.parametrize("name", ["file", "steps"])
def test_a_folder_that_is_removed_meanwhile_is_told_with_the_file(tmp_path, name):
    path = tmp_path / "folder" / name
    writing = replacing(path) if name == "file" else resuming(path, {}, resume=False)
    with pytest.raises(OSError, match=f"Cannot write {path}: No such file"), writing as made:
        shutil.rmtree(path.parent)
        getattr(made, "path", made).write_text("new")
    assert not path.exists()


def test_the_log_of_a_run_on_a_full_disk_is_named(disk):
    with_old_file(disk, "old")
    with pytest.raises(OSError, match=f"Cannot write {disk}/events"):
        EventFile(disk, [("loss", step, 0.5) for step in range(999)], lambda tag, step: True)
    assert sorted(contents(disk)) == ["filling", "old"]


def extract(cohort, output, *more):
    arguments = ["--data-root", str(cohort), "--output", str(output), "--patches-per-case", "3"]
    return exit_code(lambda: extract_patches.main([*arguments, "--workers", "1", *more]))


@pytest.fixture
def unforeseen(monkeypatch):
    """A disk that says it has room."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(0, 0, 10**12))


def test_without_room_for_all_patches_extraction_stops_before_the_first(
    cohort, disk, unforeseen, capsys
):
    output = disk / "patches.h5"
    output.write_text("old")
    assert extract(cohort, output, "--overwrite") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"Error: Cannot write {output}: No space left on device."
    assert contents(disk) == {"patches.h5": b"old"}


def test_a_disk_that_becomes_full_keeps_the_done_cases_for_when_there_is_room(
    cohort, disk, unforeseen, tmp_path, monkeypatch, capsys
):
    assert extract(cohort, tmp_path / "whole.h5") == 0
    # Where space cannot be reserved: two of four cases of 3 * 278,528 bytes fit in 2 MB.
    monkeypatch.setattr(patch_file, "_reserve", lambda file, num_bytes: None)
    mount(disk, "-o", "remount,size=2000k")
    output = disk / "patches.h5"
    output.write_text("old")
    assert extract(cohort, output, "--overwrite") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"Error: Cannot write {output}: No space left on device. What was")
    assert error.endswith("is kept: go on with --resume.")
    assert output.read_text() == "old"
    mount(disk, "-o", "remount,size=8000k")
    assert extract(cohort, output, "--overwrite", "--resume") == 0
    assert "Going on: 2 of 4 cases are done." in capsys.readouterr().out
    assert contents(disk) == {"patches.h5": (tmp_path / "whole.h5").read_bytes()}
