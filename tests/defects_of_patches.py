"""Defects of a patch file. See defects.py."""

import contextlib
import json
import subprocess
import sys

import h5py
import numpy as np

from tests.defects import PATCHES, TRAIN, defect
from tests.defects_of_images import without_permission

DEFECTS = []


def patch_defect(title, *flags):
    """Declares the decorated function, which spoils the patch file or its use by some flags."""
    return defect(DEFECTS, "Patch files", title, (*TRAIN, *flags), flags[0] if flags else PATCHES)


def set_attribute(name, value):
    with h5py.File(PATCHES, "r+") as file:
        file.attrs[name] = json.dumps(value)


@contextlib.contextmanager
def changed_datasets():
    """Gives the open patch file, and the function that gives one of its datasets other content."""
    with h5py.File(PATCHES, "r+") as file:

        def change(name, content, **layout):
            del file[name]
            file.create_dataset(name, data=content, **layout)

        yield file, change


@patch_defect("a patch file that does not exist")
def _():
    PATCHES.unlink()


@patch_defect("a folder as patch file")
def _():
    PATCHES.unlink()
    PATCHES.mkdir()


@patch_defect("an empty patch file")
def _():
    PATCHES.write_bytes(b"")


@patch_defect("text under the name of a patch file")
def _():
    PATCHES.write_text("patches")


@patch_defect("a patch file that was cut short")
def _():
    PATCHES.write_bytes(PATCHES.read_bytes()[:100_000])


@patch_defect("a patch file with a damaged first block")
def _():
    content = bytearray(PATCHES.read_bytes())
    content[8:96] = bytes(88)
    PATCHES.write_bytes(content)


@patch_defect("an HDF5 file of another program")
def _():
    PATCHES.unlink()
    with h5py.File(PATCHES, "w") as file:
        file.attrs["backend"] = "tensorflow"


@patch_defect("a patch file without its attributes")
def _():
    with h5py.File(PATCHES, "r+") as file:
        for name in list(file.attrs):
            del file.attrs[name]


@patch_defect("an attribute that is not JSON")
def _():
    with h5py.File(PATCHES, "r+") as file:
        file.attrs["split"] = "{"


@patch_defect("a patch file of another version")
def _():
    set_attribute("version", 2)


@patch_defect("patches of 64 x 64 pixels")
def _():
    set_attribute("patch_size", 64)


@patch_defect("modalities in another order")
def _():
    set_attribute("modalities", ["t1", "t1ce", "t2", "flair"])


@patch_defect("intensities normalized in another way")
def _():
    set_attribute("normalization", {"method": "minmax"})


@patch_defect("an attribute that is missing")
def _():
    with h5py.File(PATCHES, "r+") as file:
        del file.attrs["crop"]


@patch_defect("a patch file without labels")
def _():
    with h5py.File(PATCHES, "r+") as file:
        del file["train/labels"]


@patch_defect("a patch file without validation patches' group")
def _():
    with h5py.File(PATCHES, "r+") as file:
        del file["validation"]


@patch_defect("fewer labels than images")
def _():
    with h5py.File(PATCHES, "r+") as file:
        file["train/labels"].resize(3, axis=0)


@patch_defect("images of another shape than the attributes say")
def _():
    with changed_datasets() as (file, change):
        images = file["train/images"][:, :64, :64]
        change("train/images", images, chunks=(1, *images.shape[1:]))


@patch_defect("images of whole numbers")
def _():
    with changed_datasets() as (file, change):
        images = file["train/images"][:].astype(np.int32)
        change("train/images", images, chunks=(1, *images.shape[1:]))


@patch_defect("images that are compressed")
def _():
    with changed_datasets() as (file, change):
        images = file["train/images"][:]
        change("train/images", images, chunks=(1, *images.shape[1:]), compression="gzip")


@patch_defect("images in one piece")
def _():
    with changed_datasets() as (file, change):
        change("train/images", file["train/images"][:])


@patch_defect("patches whose room was never written to")
def _():
    with h5py.File(PATCHES, "r+") as file:
        for name in ("images", "labels"):
            file[f"train/{name}"].resize(9, axis=0)


@patch_defect("a group in the place of the images")
def _():
    with h5py.File(PATCHES, "r+") as file:
        del file["train/images"]
        file.create_group("train/images")


@patch_defect("no patch to train on", "--batch-size", "2")
def _():
    with h5py.File(PATCHES, "r+") as file:
        for name in ("images", "labels", "case", "center"):
            file[f"train/{name}"].resize(0, axis=0)


@defect(
    DEFECTS,
    "Patch files",
    "batches of more patches than there are",
    (*TRAIN, "--batch-size", "9999"),
    "--batch-size",
)
def _():
    pass


@defect(
    DEFECTS,
    "Patch files",
    "patches that cannot be halved as often as the network does",
    (*TRAIN, "--depth", "8"),
    "--depth",
)
def _():
    pass


@patch_defect("a patch file that another program is writing to")
@contextlib.contextmanager
def _():
    program = "import h5py, sys; file = h5py.File(sys.argv[1], 'r+'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, PATCHES], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield
        process.communicate(b"\n")


@patch_defect("a patch file without permission to read it")
def _():
    return without_permission(PATCHES)
