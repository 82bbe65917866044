"""Files appear whole or not at all, and tables are read as they were written."""

import pytest

from brats.files import parse_json, read_table, replacing, write_table


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_under_its_name_only_after_the_block(tmp_path):
    path = tmp_path / "volume.nii.gz"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent  # A rename across file systems copies.
        assert temporary.suffixes[-2:] == [".nii", ".gz"]  # Writers go by the extension.
    assert path.read_text() == "new"
    assert names(tmp_path) == ["volume.nii.gz"]


def test_missing_folders_are_made(tmp_path):
    with replacing(str(tmp_path / "a" / "b" / "file.txt")) as temporary:
        temporary.touch()
    assert names(tmp_path / "a" / "b") == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_removes_the_temporary_file_and_keeps_the_old_one(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_failure_before_anything_is_written_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="early"), replacing(tmp_path / "file.txt"):
        raise ValueError("early")
    assert names(tmp_path) == []


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").touch()
    message = f"Cannot make the folder {tmp_path}/taken/inner"
    with pytest.raises(OSError, match=message), replacing(tmp_path / "taken" / "inner" / "file"):
        pytest.fail("The block ran.")


def test_folder_that_is_not_writable_is_named(tmp_path, monkeypatch):
    # The superuser may write anywhere, so the answer of the system is replaced.
    monkeypatch.setattr("os.access", lambda folder, mode: False)
    message = f"The folder {tmp_path} is not writable"
    with pytest.raises(PermissionError, match=message), replacing(tmp_path / "file"):
        pytest.fail("The block ran.")


def test_table_is_comma_separated_with_a_header(tmp_path):
    write_table(tmp_path / "scores.csv", [{"case": "a", "dice": 0.5}, {"case": "b", "dice": 1.0}])
    assert (tmp_path / "scores.csv").read_text().splitlines() == ["case,dice", "a,0.5", "b,1.0"]


def test_table_reads_back_as_text_whatever_it_holds(tmp_path):
    rows = [{"case": 'a, "b"\nc', "loss": 0.1}, {"case": "", "loss": 1e-30}]
    write_table(tmp_path / "table.csv", rows)
    expected = [{"case": 'a, "b"\nc', "loss": "0.1"}, {"case": "", "loss": "1e-30"}]
    assert read_table(tmp_path / "table.csv") == expected


def test_rows_with_other_keys_leave_cells_empty(tmp_path):
    path = tmp_path / "table.csv"
    write_table(path, [{"epoch": 1, "train_s": 5}, {"epoch": 2, "step_s": 4}])
    assert path.read_text().splitlines() == ["epoch,train_s,step_s", "1,5,", "2,,4"]


@pytest.mark.parametrize("text", ["[" * 200_000, "{", b"\xff", "1" * 5000])
def test_json_that_cannot_be_read_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_absent_table_has_no_rows(tmp_path):
    assert read_table(tmp_path / "absent.csv") == []
