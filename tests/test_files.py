"""Files are complete or absent, abandoned ones are removed, and tables read back as written."""

import contextlib
import os
import platform
import subprocess
import time
from pathlib import Path

import pytest

from brats.errors import InputError
from brats.files import (
    ABANDONED_S,
    check_outside,
    parse_json,
    prepare_folder,
    read_table,
    replacing,
    write_json,
    write_table,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_under_its_name_only_after_the_block(tmp_path):
    path = tmp_path / "a" / "b" / "volume.nii.gz"
    with replacing(str(path)) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent  # A rename to another disk would copy.
        assert temporary.suffixes[-2:] == [".nii", ".gz"]  # SimpleITK goes by the suffix.
    assert path.read_text() == "new"
    assert names(path.parent) == ["volume.nii.gz"]


def test_the_data_is_on_the_disk_before_the_file_is_renamed(tmp_path, monkeypatch):
    events, rename = [], Path.replace

    def fsync(number):
        events.append(("fsync", Path(f"/proc/self/fd/{number}").read_text()))

    def replace(path, target):
        events.append(("rename", target.name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    with replacing(tmp_path / "file.txt") as temporary:
        temporary.write_text("complete")
    assert events == [("fsync", "complete"), ("rename", "file.txt")]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_a_failure_the_old_file_stays_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    with pytest.raises(error), replacing(path):
        raise error  # Before anything is written.
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_an_error_of_the_system_names_the_file(tmp_path):
    path = tmp_path / "folder" / "file"
    message = f"Cannot write {path}: No such file"
    with pytest.raises(OSError, match=message), replacing(path) as temporary:
        path.parent.rmdir()
        temporary.write_text("new")


def test_a_folder_that_cannot_be_used_is_named_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    message = f"Cannot make the folder {tmp_path}/taken/inner"
    with pytest.raises(OSError, match=message), replacing(tmp_path / "taken" / "inner" / "file"):
        pytest.fail("The block ran.")
    # The superuser may write anywhere, so the test replaces the answer of the system.
    monkeypatch.setattr("os.access", lambda folder, mode: False)
    message = f"The folder {tmp_path} is not writable"
    with pytest.raises(PermissionError, match=message), replacing(tmp_path / "file"):
        pytest.fail("The block ran.")


def dead_process():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("host", "find_process", "age_s", "is_kept"),
    [
        ("gpu", dead_process, 0, False),
        ("gpu", os.getppid, 2 * ABANDONED_S, True),
        # An earlier process had the number of this one, which has not written anything yet.
        ("gpu", os.getpid, 0, False),
        ("gpu-7", dead_process, 0, True),  # Another host, and not process 7 of this one.
        ("gpu-7", os.getppid, ABANDONED_S + 100, False),
    ],
)
def test_files_of_dead_processes_are_removed(
    tmp_path, host, find_process, age_s, is_kept, monkeypatch
):
    process = find_process()
    with monkeypatch.context() as patch, contextlib.suppress(ValueError):
        patch.setattr(platform, "node", lambda: host)
        patch.setattr(os, "getpid", lambda: process)
        with replacing(tmp_path / "a-b.h5") as path:
            raise ValueError
    path.touch()
    then = time.time() - age_s
    os.utime(path, (then, then))
    (tmp_path / "a-b.h5").touch()
    monkeypatch.setattr(platform, "node", lambda: "gpu")
    prepare_folder(str(tmp_path), tmp_path / "absent")
    assert names(tmp_path) == ([path.name] if is_kept else []) + ["a-b.h5"]


def test_an_output_folder_among_the_cases_is_refused(tmp_path):
    check_outside("--output", tmp_path / "out", "--data-root", tmp_path / "data")
    message = f"--output {tmp_path}/data/out lies in --data-root {tmp_path}/data"
    with pytest.raises(InputError, match=message):
        check_outside("--output", tmp_path / "data" / "out", "--data-root", tmp_path / "data")


def test_a_table_has_a_header_of_all_keys_and_reads_back_as_text(tmp_path):
    path = tmp_path / "table.csv"
    assert read_table(path) == []
    write_table(path, [{"case": 'ä, "b"', "loss": 0.1}, {"case": "", "time_s": 1e-30}])
    assert path.read_text().splitlines() == ["case,loss,time_s", '"ä, ""b""",0.1,', ",,1e-30"]
    expected = [
        {"case": 'ä, "b"', "loss": "0.1", "time_s": ""},
        {"case": "", "loss": "", "time_s": "1e-30"},
    ]
    assert read_table(path) == expected
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # As Excel saves it.
    assert read_table(path) == expected


def test_text_in_a_table_is_no_formula_and_need_not_be_utf_8(tmp_path):
    path, names = tmp_path / "table.csv", ["=1+1", "+1", "-a", "@a", "\t=1", "a=1", "caf\udce9"]
    write_table(path, [{"case": name, "ml": -1.5} for name in names])
    expected = [*(f"'{name}" for name in names[:5]), "a=1", "caf\\udce9"]
    assert [row["case"] for row in read_table(path)] == expected
    assert {row["ml"] for row in read_table(path)} == {"-1.5"}


@pytest.mark.parametrize("contents", [b"case\n\xff\n", b"case\n" + b"a" * 200_000])
def test_a_file_that_is_not_a_table_is_refused(tmp_path, contents):
    path = tmp_path / "table.csv"
    path.write_bytes(contents)
    with pytest.raises(InputError, match=f"Cannot read {path} as a table: .*Repair or remove it"):
        read_table(path)
    with pytest.raises(InputError, match=f"{tmp_path} is not a file. Remove it"):
        read_table(tmp_path)


@pytest.mark.parametrize("text", ["[" * 200_000, "{", b"\xff", "1" * 5000])
def test_json_reads_back_or_is_a_value_error(text, tmp_path):
    value = {"name": "ä", "values": [1, 0.5, None]}
    write_json(tmp_path / "a.json", value)
    assert parse_json((tmp_path / "a.json").read_bytes()) == value
    with pytest.raises(ValueError):
        parse_json(text)
