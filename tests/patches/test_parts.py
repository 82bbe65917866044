"""Part files: what was written is found again, and nothing else is taken for it."""

import dataclasses
import json
import os

import numpy as np
import pytest

from brats import parts
from brats.errors import InputError
from brats.parts import Attempt, collecting, parts_path
from brats.patches.file import cut
from tests.synthetic import noise_patches

STATES = {"a.nii.gz": [5, 7]}


@pytest.fixture
def attempt(tmp_path):
    return Attempt(tmp_path, "digest")


def write(attempt, rng, index=3, num_patches=5, dtype="float32"):
    """Writes a part of noise; returns its path and the `CasePatches`."""
    patches = noise_patches(max(num_patches, 1), rng)
    patches = dataclasses.replace(patches, centers=patches.centers[:num_patches])
    centers = (patches.centers + patches.origin).tolist()
    step = {"case": "a", "files": STATES, "centers": centers}
    return attempt.write(index, step, patches, dtype), patches


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("num_patches", [0, 1, 5])
def test_a_part_holds_what_the_patch_file_would(attempt, rng, num_patches, dtype):
    path, patches = write(attempt, rng, num_patches=num_patches, dtype=dtype)
    part = attempt.find(3, STATES)
    assert part.path == path and part.step["files"] == STATES
    assert len(part.step["centers"]) == len(part.images) == len(part.labels) == num_patches
    for found, expected in zip((part.images, part.labels), cut(patches, dtype), strict=True):
        for patch, other in zip(found, expected, strict=True):
            assert patch.dtype == other.dtype and np.array_equal(patch, other)
    assert sorted(attempt.folder.iterdir()) == [path]


def test_a_part_of_another_case_or_of_a_changed_file_is_not_taken(attempt, rng):
    write(attempt, rng)
    assert attempt.find(2, STATES) is None
    assert attempt.find(3, {"a.nii.gz": [5, 8]}) is None


def test_a_part_of_other_settings_is_not_taken(attempt, rng, tmp_path):
    path, _ = write(attempt, rng)
    other = Attempt(tmp_path, "other")
    assert other.find(3, STATES) is None
    with pytest.raises(InputError, match=f"part {path} is of another attempt"):
        other.read(path)


@pytest.mark.parametrize(("host", "is_taken"), [("here", False), ("elsewhere", True)])
def test_a_part_from_before_a_restart_of_its_machine_is_not_taken(
    attempt, rng, monkeypatch, host, is_taken
):
    monkeypatch.setattr(parts, "describe_machine", lambda: ("here", "first start"))
    write(attempt, rng)
    monkeypatch.setattr(parts, "describe_machine", lambda: (host, "second start"))
    assert (attempt.find(3, STATES) is not None) == is_taken


@pytest.mark.parametrize("text", ["", "\n", "[]\n", "{}\n", '{"attempt": 1}\n', "{\n"])
def test_a_damaged_part_is_told_and_not_taken(attempt, rng, text):
    path, _ = write(attempt, rng)
    path.write_text(text)
    assert attempt.find(3, STATES) is None
    with pytest.raises(InputError, match=f"The part {path} is damaged"):
        attempt.read(path)


def test_a_part_that_was_cut_short_is_told(attempt, rng):
    path, _ = write(attempt, rng)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(InputError, match="was cut short"):
        attempt.read(path)


def test_a_taken_part_is_removed_with_what_broken_off_tries_have_left(attempt, rng):
    write(attempt, rng)
    kept, _ = write(attempt, rng, index=4)
    path, _ = write(attempt, rng)
    torn = path.with_name(f".writing-{path.name}")
    torn.write_text("half")
    attempt.read(path).remove()
    assert list(attempt.folder.iterdir()) == [kept]


def test_a_worker_makes_no_folder(tmp_path, rng):
    with pytest.raises(FileNotFoundError):
        write(Attempt(tmp_path / "absent", "digest"), rng)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resume", [False, True])
def test_parts_of_an_earlier_attempt_are_taken_up_or_removed(tmp_path, rng, resume):
    output = tmp_path / "patches.h5"
    with pytest.raises(InputError), collecting(output, {"seed": 0}, False) as attempt:
        attempt.folder.mkdir()
        path, _ = write(attempt, rng)
        (attempt.folder / ".writing-token").write_text("")
        raise InputError("a case failed")
    assert list(parts_path(output).iterdir()) == [path]
    with collecting(output, json.loads('{"seed": 0}'), resume) as attempt:
        assert (attempt.find(3, STATES) is not None) == resume
    assert not parts_path(output).exists()
