"""Who owns a run folder, and what is removed there."""

import errno
import fcntl
import platform

import pytest

from brats.errors import InputError
from brats.files import replacing
from engine.runs.lock import owning


def test_a_folder_has_one_owner(tmp_path):
    folder = tmp_path / "new" / "folder"
    with (
        owning(folder),
        pytest.raises(InputError, match=f"{folder} is being written by another"),
        owning(folder),
    ):
        pass
    assert list(folder.iterdir()) == []
    with owning(folder):
        pass


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "state").mkdir()
    host = platform.node().replace("-", "_")  # As in the names of temporary files.
    killed = f".writing-{host}-{2**22 + 1}-"  # Linux has no process of that number.
    for name in (f"{killed}a.csv", f"state/{killed}b.npz", "a.csv", ".mine"):
        (tmp_path / name).write_text("")
    with owning(tmp_path, "state", "absent"), replacing(tmp_path / "a.csv") as temporary:
        temporary.write_text("new")
        found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
        assert found == {".lock", ".mine", "a.csv", "state", temporary.name}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, 524])  # ENOTSUPP of Linux.
def test_without_locks_on_the_file_system_the_run_starts(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with owning(tmp_path), owning(tmp_path):
        pass
