"""Who owns a folder, what is tidied up there, and where nobody can."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from brats.errors import InputError
from brats.files import replacing
from brats.locks import owning

OWNER = """
import sys
from brats.locks import owning

with owning(sys.argv[1]):
    print(flush=True)
    input()
"""


@pytest.fixture
def owner(tmp_path):
    """Another process that owns the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_folder_has_one_owner_until_that_is_killed(tmp_path, owner):
    with (
        pytest.raises(InputError, match=f"{tmp_path} is being written by another"),
        owning(tmp_path),
    ):
        pass
    owner.kill()
    owner.wait()
    with owning(tmp_path):
        pass
    with owning(tmp_path):  # The first gave it back.
        pass


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "figures").mkdir()
    for name in (".partial-7-a.csv", "figures/.partial-12-b.png", ".partial-mine", "a.csv"):
        (tmp_path / name).write_text("")
    with owning(tmp_path), replacing(tmp_path / "a.csv") as temporary:
        assert temporary.name == f".partial-{os.getpid()}-a.csv"
        assert sorted(path.name for path in tmp_path.rglob("*")) == [
            ".partial-mine",
            "a.csv",
            "figures",
        ]
        temporary.write_text("new")


def test_a_folder_is_made_or_told(tmp_path):
    with owning(tmp_path / "new" / "folder"):
        assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot make the folder .*file"), owning(tmp_path / "file"):
        pass


def test_without_locks_work_goes_on_and_nothing_is_removed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EBADF, "no locks on folders")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / ".partial-7-a.csv").write_text("")
    with owning(tmp_path):
        assert (tmp_path / ".partial-7-a.csv").exists()
