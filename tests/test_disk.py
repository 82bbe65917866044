"""A disk that is full or read-only: the error names the file, the old file stays, nothing is left.

The disks are real, some kilobytes of memory; mounting them takes the superuser.
"""

import os
import shutil
import subprocess
from collections import namedtuple

import keras
import numpy as np
import pytest

import extract_patches
from brats.files import replacing, write_json, write_table
from brats.patches.file import write_case_file
from brats.pictures.boxes import write_score_boxes
from brats.pictures.curves import write_learning_curves
from brats.pictures.overlays import write_overlays
from brats.report.page import write_report
from brats.scores.tables import METRICS
from brats.script import exit_code
from brats.volumes.files import write_volume
from brats.volumes.geometry import Geometry
from tests.synthetic import contents, describe_noise, noise_patches

pytestmark = pytest.mark.nightly

GEOMETRY = Geometry((1.0,) * 3, (0.0,) * 3, (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
NOISE = np.random.default_rng(0).integers(0, 255, (20, 30, 40), dtype=np.uint8)


def write_network(path):
    inputs = keras.Input((None, None, 4))
    network = keras.Model(inputs, keras.layers.Conv2D(30, 9)(inputs))
    with replacing(path) as temporary:
        network.save(temporary)


def write_patches(path, **changes):
    patches = noise_patches(1, np.random.default_rng(0))
    write_case_file(path, patches, describe_noise("a", **changes))


WRITERS = {
    "record.json": lambda path: write_json(path, NOISE.tolist()),
    "table.csv": lambda path: write_table(path, [{"value": item} for item in range(9999)]),
    "volume.nii.gz": lambda path: write_volume(path, NOISE, GEOMETRY),
    "overlays.png": lambda path: write_overlays(path, "", NOISE[0], NOISE[0] % 4),
    "scores.png": lambda path: write_score_boxes(
        path, [{"region": "whole"} | dict.fromkeys(METRICS, 0.5)]
    ),
    "curves.png": lambda path: write_learning_curves(
        path, [{"epoch": 1, "loss": 1.0, "learning_rate": 0.1}]
    ),
    "report.html": lambda path: write_report(path.parent, {}, {}, {}, []),
    "network.keras": write_network,
    "patches.h5": write_patches,
    # What HDF5 itself writes does not fit either.
    "long.h5": lambda path: write_patches(path, warnings=["odd" * 9999]),
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


def with_old_file(disk, name, free=4096):
    """Makes an older file of that name, and fills the disk but for some bytes; returns its path."""
    path = disk / name
    path.write_text("old")
    (disk / "filling").write_bytes(bytes(shutil.disk_usage(disk).free - free))
    return path


@pytest.mark.parametrize("free", [4096, 0])
@every_writer
def test_on_a_full_disk_the_error_names_the_file_and_the_old_one_stays(disk, name, free):
    path = with_old_file(disk, name, free)
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


def test_a_disk_that_becomes_read_only_meanwhile_is_named_with_the_file(disk):
    path = disk / "file"
    path.write_text("old")
    message = f"Cannot write {path}: Read-only file system."
    with pytest.raises(OSError, match=message), replacing(path) as temporary:
        mount(disk, "-o", "remount,ro")
        temporary.write_text("new")
    assert contents(disk) == {"file": b"old"}


def test_an_extraction_on_a_disk_that_becomes_full_keeps_the_finished_cases(
    cohort, disk, monkeypatch, capsys
):
    def extract():
        arguments = ["--data-root", str(cohort), "--output", str(output), "--workers", "1"]
        return exit_code(lambda: extract_patches.main([*arguments, "--patches-per-case", "3"]))

    output, usage = disk / "patches", namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(0, 0, 10**12))
    mount(disk, "-o", "remount,size=2000k")  # Two of four cases of 3 * 278,528 bytes.
    assert extract() == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"Error: Cannot write {output}/") and "No space left" in error
    before = contents(output)
    assert len(before) == 2
    mount(disk, "-o", "remount,size=8000k")
    assert extract() == 0
    assert len(contents(output)) == 4 and contents(output).items() >= before.items()
