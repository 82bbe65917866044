"""Who owns a folder, what is tidied up there, and where nobody can."""

import errno
import fcntl
import os
import platform
import subprocess
import sys

import pytest

from brats.errors import InputError
from brats.files import replacing
from engine.runs.lock import owning

OWNER = """
import sys
from engine.runs.lock import owning

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
    (tmp_path / "inner").mkdir()
    kept = [".partial-7-a.h5", "a.csv", "figures", "inner", "inner/.writing-8-c.csv"]
    for name in (".writing-7-a.csv", "figures/.writing-12-b.png", *kept):
        if not (tmp_path / name).exists():
            (tmp_path / name).write_text("")
    with owning(tmp_path, "figures", "absent"), replacing(tmp_path / "a.csv") as temporary:
        assert temporary.name == f".writing-{platform.node()}-{os.getpid()}-a.csv"
        found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
        assert found == sorted([".lock", *kept])
        temporary.write_text("new")
    assert not (tmp_path / ".lock").exists()


def test_what_a_worker_killed_meanwhile_was_writing_is_removed_unless_others_may_be_writing(
    tmp_path,
):
    left = tmp_path / ".writing-node-7-a.csv"
    with owning(tmp_path):
        left.write_text("")
    assert not left.exists()
    with pytest.raises(KeyboardInterrupt), owning(tmp_path):
        left.write_text("")
        raise KeyboardInterrupt
    assert left.exists()


def test_a_folder_is_made_or_told(tmp_path):
    with owning(tmp_path / "new" / "folder"):
        assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot make the folder .*file"), owning(tmp_path / "file"):
        pass


def test_without_locks_work_goes_on_and_nothing_is_removed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / ".writing-7-a.csv").write_text("")
    with owning(tmp_path):
        assert (tmp_path / ".writing-7-a.csv").exists()
