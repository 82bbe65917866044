"""Defects of what is written to, and of the cases that are asked for. See defects.py."""

import contextlib
import json
import shutil

from tests.defects import (
    CASE,
    DATA,
    EXTRACT,
    OTHER,
    OUTPUT,
    PATCHES,
    PREDICT,
    RUN,
    SCORE,
    TRAIN,
    defect,
    image_path,
)
from tests.defects_of_images import without_permission
from tests.defects_of_runs import RECORD

DEFECTS = []


def output_defect(title, names, command):
    """Declares the decorated function, which spoils what is written to, as a defect."""
    return defect(DEFECTS, "Outputs", title, command, names)


@output_defect("a patch file that exists", OUTPUT, EXTRACT)
def _():
    shutil.copy(PATCHES, OUTPUT)


@output_defect("a folder in the way of the patch file", OUTPUT, (*EXTRACT, "--overwrite"))
def _():
    OUTPUT.mkdir()


@output_defect(
    "a file in the way of a folder", PATCHES, (*EXTRACT, "--output", "patches.h5/new.h5")
)
def _():
    pass


@output_defect(
    "a folder without permission to write to it", OUTPUT, (*EXTRACT, "--output", "out/new.h5")
)
def _():
    OUTPUT.mkdir()
    return without_permission(OUTPUT, 0o555)


@output_defect(
    "a disk without room for the patches", OUTPUT, (*EXTRACT, "--patches-per-case", "10" + "0" * 9)
)
@contextlib.contextmanager
def _():
    usage = shutil.disk_usage
    shutil.disk_usage = lambda path: usage(path)._replace(free=5_000_000_000)
    try:
        yield
    finally:
        shutil.disk_usage = usage


@output_defect("a run folder that holds a run", RUN, (*TRAIN, "--run-dir", "run"))
def _():
    pass


@output_defect("a file in the way of the run folder", OUTPUT, TRAIN)
def _():
    OUTPUT.write_text("")


@output_defect("predictions among the cases", "--output", (*PREDICT, "--output", "data/out"))
def _():
    pass


@output_defect("predictions of another network in the folder", OUTPUT, PREDICT)
def _():
    OUTPUT.mkdir()
    (OUTPUT / "config.json").write_text('{"method": {"networks": ["0"]}}')


@output_defect(
    "segmentations of another tool in the folder",
    f"{OTHER.name}.nii.gz",
    (*PREDICT, "--cases", OTHER.name),
)
def _():
    OUTPUT.mkdir()
    shutil.copy(image_path(OTHER, "seg"), OUTPUT / f"{OTHER.name}.nii.gz")


@output_defect("a damaged record of predictions", OUTPUT / "config.json", PREDICT)
def _():
    OUTPUT.mkdir()
    (OUTPUT / "config.json").write_text("{")


@output_defect("a damaged table of scores", OUTPUT / "scores.csv", SCORE)
def _():
    copy_segmentations()
    (OUTPUT / "scores.csv").write_text("case,region\nBraTS2021_00000\n")


def copy_segmentations():
    OUTPUT.mkdir()
    for case in (CASE, OTHER):
        shutil.copy(image_path(case, "seg"), OUTPUT / f"{case.name}.nii.gz")


@output_defect("nothing to score", OUTPUT, SCORE)
def _():
    OUTPUT.mkdir()


@output_defect("a folder to score that does not exist", OUTPUT, SCORE)
def _():
    pass


@output_defect(
    "a case that is not there", "BraTS2021_99999", (*PREDICT, "--cases", "BraTS2021_99999")
)
def _():
    pass


@output_defect(
    "a case to cross-validate that every run was trained on",
    "--run-dir",
    (*PREDICT, "--cross-validate", "--cases", CASE.name, OTHER.name),
)
def _():
    pass


@output_defect("no case that the network has not seen", "--cases", PREDICT)
def _():
    seen = json.loads(RECORD.read_text())["extraction"]["split"]["train"]
    for case in (CASE, OTHER):
        if case.name not in seen:
            shutil.rmtree(DATA / case.name)
