"""A changed input file is noticed, by content and not by time alone."""

import hashlib
import os
from dataclasses import replace

import pytest

from brats.cases.find import Case
from brats.editions import EDITIONS, MODALITIES
from brats.errors import InputError
from brats.inputs import describe_inputs, find_changes


@pytest.fixture
def case(tmp_path):
    """A case of 2017 without a reference; file i holds i + 1 bytes."""
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    images = {name: folder / f"a_{name}.nii" for name in MODALITIES}
    for index, path in enumerate(images.values()):
        path.write_bytes(b"x" * (index + 1))
    return Case("a", folder, EDITIONS["2017"], images, None, None, "a")


def with_reference(case):
    path = case.folder / "a_seg.nii"
    path.write_bytes(b"reference")
    return replace(case, segmentation=path)


def test_the_description_has_size_time_and_digest_by_folder_and_name(case):
    described = describe_inputs(with_reference(case))
    assert list(described) == [f"a/a_{name}.nii" for name in (*MODALITIES, "seg")]
    path = case.images["t1ce"]
    assert described["a/a_t1ce.nii"] == {
        "size": 3,
        "time": path.stat().st_mtime_ns,
        "sha256": hashlib.sha256(b"xxx").hexdigest(),
    }


def test_a_file_that_holds_all_modalities_is_described_once(case, tmp_path):
    paths = [tmp_path / folder / "BRATS_001.nii.gz" for folder in ("imagesTr", "labelsTr")]
    for path in paths:
        path.parent.mkdir()
        path.touch()
    case = replace(case, images=dict.fromkeys(MODALITIES, paths[0]), segmentation=paths[1])
    assert list(describe_inputs(case)) == ["imagesTr/BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz"]
    assert find_changes(case, describe_inputs(case)) == []


def test_moved_and_touched_files_have_not_changed(case, tmp_path, monkeypatch):
    before = describe_inputs(case)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "a"
    case = replace(case, images={name: folder / path.name for name, path in case.images.items()})
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)  # Nothing is read.
        assert find_changes(case, before) == []
    for path in case.images.values():
        os.utime(path, (0, 0))
    assert find_changes(case, before) == []


def test_another_content_of_the_same_size_is_a_change(case):
    before = describe_inputs(case)
    path = case.images["t1ce"]
    path.write_bytes(b"xyx")
    os.utime(path, (0, 0))
    assert find_changes(case, before) == ["a/a_t1ce.nii"]


def test_an_added_and_a_removed_reference_are_changes(case):
    without, reference = describe_inputs(case), with_reference(case)
    assert find_changes(reference, without) == ["a/a_seg.nii"]
    assert find_changes(case, describe_inputs(reference)) == ["a/a_seg.nii"]


def test_a_file_that_cannot_be_read_is_named(case):
    case.images["t2"].unlink()
    with pytest.raises(InputError, match="Cannot read .*/a_t2.nii: No such file.* Check the file"):
        describe_inputs(case)
