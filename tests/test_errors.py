"""Messages of errors: what happened, with the path, and what to do."""

import errno
import os
import re

import h5py
import pytest

from brats.errors import InputError, describe_error, shortened
from brats.hdf5 import open_hdf5


def test_a_value_in_a_message_is_cut():
    assert shortened("a" * 300) == "a" * 300 and shortened("a" * 301) == "a" * 297 + "..."


def test_an_error_of_the_system_names_its_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "absent").read_bytes()
    message = f"Cannot use {tmp_path}/absent: No such file or directory. Check the path and its"
    assert describe_error(caught.value) == f"{message} permissions."
    message = describe_error(OSError(errno.ENOSPC, "No space left on device"))
    assert message.endswith("such as stdout: No space left on device. Free space on the disk.")
    assert describe_error(OSError("Ours.")) == "Ours."


def test_too_little_memory_comes_with_a_remedy():
    remedy = "Give fewer --workers or a smaller --batch-size."
    assert describe_error(MemoryError()) == f"Out of memory. {remedy}"
    assert describe_error(MemoryError("No 9 TiB.")) == f"Out of memory: No 9 TiB. {remedy}"


def damage(path):
    with h5py.File(path, "w") as file:
        file["images"] = range(1000)
    os.truncate(path, path.stat().st_size // 2)


BROKEN_FILES = {
    "is empty. Give another": lambda path: path.touch(),
    "is not an HDF5 file. Give another": lambda path: path.write_bytes(bytes(9999)),
    "is a damaged HDF5 file: truncated file: .*. Copy it again": damage,
    "is not a regular file; expected an HDF5 file. Give another": os.mkfifo,
}


@pytest.mark.parametrize("message", BROKEN_FILES)
def test_an_hdf5_file_that_cannot_be_read_is_named(message, tmp_path):
    path = tmp_path / "a.h5"
    BROKEN_FILES[message](path)
    with pytest.raises(InputError, match=f"^{path} {message}"), open_hdf5(path):
        pytest.fail("The block ran.")


def test_a_missing_hdf5_file_is_named(tmp_path):
    message = f"^There is no file {tmp_path}/a.h5. Check the path.$"
    with pytest.raises(FileNotFoundError, match=message), open_hdf5(tmp_path / "a.h5"):
        pytest.fail("The block ran.")


def test_an_error_inside_the_block_names_the_hdf5_file(tmp_path):
    path = tmp_path / "a.h5"
    h5py.File(path, "w").close()
    with pytest.raises(InputError, match=re.escape(str(path))), open_hdf5(path) as file:
        file["images"]
    with pytest.raises(InputError, match="^ours$"), open_hdf5(path):
        raise InputError("ours")
