"""Defects of several patch files that are one set. See defects.py."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np

from tests.defects import CASE, OTHER, PATCHES, RESUME, TRAIN, defect
from tests.defects_of_patches import set_attribute

SECOND = Path("second.h5")
TRAIN_TWO = (*TRAIN, "--patches", str(PATCHES), str(SECOND))
DEFECTS = []


def set_defect(title, names=SECOND, command=TRAIN_TWO):
    return defect(DEFECTS, "Several patch files", title, command, names)


def write_second(**changes):
    """Writes a second patch file, of two other cases, with some attributes changed."""
    shutil.copy(PATCHES, SECOND)
    with h5py.File(SECOND, "r+") as file:
        settings = {name: json.loads(value) for name, value in file.attrs.items()}
        other = {name: f"Other{name[5:]}" for name in settings["cases"]}
        settings["cases"] = list(other.values())
        for split, ids in settings["split"].items():
            settings["split"][split] = [other[name] for name in ids]
        for name, value in (settings | changes).items():
            file.attrs[name] = json.dumps(value)


@set_defect("one file given twice", PATCHES, (*TRAIN, "--patches", "patches.h5", "./patches.h5"))
def _():
    pass


@set_defect("a second file that does not exist")
def _():
    pass


@set_defect("two files that hold the same cases")
def _():
    shutil.copy(PATCHES, SECOND)


@set_defect("a case to train on in one file and to validate on in the other")
def _():
    write_second(
        cases=[CASE.name, OTHER.name], split={"train": [CASE.name], "validation": [OTHER.name]}
    )


@set_defect("visits of a patient in training and in validation")
def _():
    for path, ids in ((PATCHES, ["A-001-000", "B"]), (SECOND, ["C", "A-001-001"])):
        changes = {
            "label_schemes": {"2023": [0, 1, 2, 3]},
            "cases": ids,
            "split": {"train": ids[:1], "validation": ids[1:]},
        }
        if path == SECOND:
            write_second(**changes)
        else:
            for name, value in changes.items():
                set_attribute(name, value)


@set_defect("files of float32 and of float16")
def _():
    write_second(dtype="float16")


@set_defect("files of other numbers of patches per case")
def _():
    write_second(patches_per_case=5)


@set_defect("files that number the classes of one naming differently")
def _():
    write_second(label_schemes={"2017": [0, 2, 1, 4]})


@set_defect("a second file without a split")
def _():
    write_second(split=None)


@set_defect("images of float16 in a second file that says float32")
def _():
    write_second()
    with h5py.File(SECOND, "r+") as file:
        images = file["train/images"][:].astype(np.float16)
        del file["train/images"]
        file.create_dataset("train/images", data=images, chunks=(1, *images.shape[1:]))


@set_defect("--resume with a further patch file", "--patches", (*RESUME, *TRAIN_TWO[-3:]))
def _():
    write_second()
