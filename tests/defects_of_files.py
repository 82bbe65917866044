"""Defects of patch files, run folders, networks and predictions. See defects.py."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from model import build_resunet
from tests.defects import (
    CASE,
    DATA,
    EXTRACT,
    OTHER,
    OUTPUT,
    PATCHES,
    PREDICT,
    RESUME,
    RUN,
    SCORE,
    TRAIN,
    Defect,
    image_path,
)
from tests.defects_of_images import without_permission

BEST, RECORD, STATE = RUN / "best.keras", RUN / "config.json", RUN / "state"
DEFECTS = []


def defect(group, title, command, names):
    """Declares the decorated function as a defect, and gives it back."""

    def declare(spoil):
        DEFECTS.append(Defect(group, title, command, str(names), spoil))
        return spoil

    return declare


def patch_defect(title, *flags):
    """Declares the decorated function, which spoils the patch file or its use by some flags."""
    return defect("Patch files", title, (*TRAIN, *flags), flags[0] if flags else PATCHES)


def run_defect(title, names, command=PREDICT):
    """Declares the decorated function, which spoils the run folder, as a defect."""
    return defect("Run folders", title, command, names)


def weights_defect(title, names, script="predict"):
    """Declares the decorated function, which writes the file `names`, as a defect."""
    predict = ("predict.py", "--data-root", "data", "--output", "out")
    command = (TRAIN if script == "train" else predict) + ("--weights", names)
    return defect("Weights", title, command, names)


def output_defect(title, names, command):
    """Declares the decorated function, which spoils what is written to, as a defect."""
    return defect("Outputs", title, command, names)


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


def write_settings(edit):
    """Changes the record of the run: `edit` gets it and changes it in place."""
    record = json.loads(RECORD.read_text())
    edit(record)
    RECORD.write_text(json.dumps(record))


def edit_archive(path, edits):
    """Replaces members of a `.keras` archive: `edits` maps a name to bytes, or to None to drop."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | edits
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(name, content)


def save_network(path, num_modalities=4, num_classes=4, base_filters=2, depth=1):
    build_resunet((None, None, num_modalities), num_classes, base_filters, depth).save(path)


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
    "Patch files",
    "batches of more patches than there are",
    (*TRAIN, "--batch-size", "9999"),
    "--batch-size",
)
def _():
    pass


@defect(
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


SECOND = Path("second.h5")
TRAIN_TWO = (*TRAIN, "--patches", str(PATCHES), str(SECOND))


def set_defect(title, names=SECOND, command=TRAIN_TWO):
    return defect("Several patch files", title, command, names)


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


@run_defect("a run folder that does not exist", RUN)
def _():
    shutil.rmtree(RUN)


@run_defect("a file as run folder", RUN)
def _():
    shutil.rmtree(RUN)
    RUN.write_text("")


@run_defect("a run folder without its record", RUN)
def _():
    RECORD.unlink()


@run_defect("a record that was cut short", RECORD)
def _():
    RECORD.write_text(RECORD.read_text()[:200])


@run_defect("a record that is no text", RECORD)
def _():
    RECORD.write_bytes(b"\xff\xfe\x00")


@run_defect("a record of another program", RECORD)
def _():
    RECORD.write_text('{"model": "unet"}')


@run_defect("a record without the split", RECORD)
def _():
    write_settings(lambda record: record["extraction"].pop("split"))


@run_defect("a run on patches of another size", RECORD)
def _():
    write_settings(lambda record: record["extraction"].update(patch_size=96))


@run_defect("a run without a finished epoch", "best.keras")
def _():
    BEST.unlink()


@run_defect(
    "a run without its last network", "last.keras", command=(*PREDICT, "--checkpoint", "last")
)
def _():
    (RUN / "last.keras").unlink()


@run_defect("a network that was cut short", BEST)
def _():
    BEST.write_bytes(BEST.read_bytes()[:-1000])


@run_defect("a network with a damaged byte in its weights", BEST)
def _():
    content = bytearray(BEST.read_bytes())
    content[len(content) // 2] ^= 0xFF
    BEST.write_bytes(content)


@run_defect("text under the name of a network", BEST)
def _():
    BEST.write_text("network")


@run_defect("a network without its configuration", BEST)
def _():
    edit_archive(BEST, {"config.json": None})


@run_defect("a network without its weights", BEST)
def _():
    edit_archive(BEST, {"model.weights.h5": None})


@run_defect("a network whose configuration is no JSON", BEST)
def _():
    edit_archive(BEST, {"config.json": b"{"})


@run_defect("a network with the weights of another", BEST)
def _():
    save_network("other.keras", base_filters=3)
    with zipfile.ZipFile("other.keras") as archive:
        edit_archive(BEST, {"model.weights.h5": archive.read("model.weights.h5")})
    Path("other.keras").unlink()


@run_defect("a network that runs code of its file, in a Lambda layer", BEST)
def _():
    inputs = keras.Input((8, 8, 4))
    code = keras.layers.Lambda(lambda x: Path("executed").touch() or x)
    keras.Model(inputs, code(inputs)).save(BEST)


@run_defect("a network that names a function of another module", BEST)
def _():
    with zipfile.ZipFile(BEST) as archive:
        config = json.loads(archive.read("config.json"))
    code = {"module": "os", "class_name": "system", "config": {"command": "touch executed"}}
    config |= code | {"registered_name": None, "build_config": None}
    edit_archive(BEST, {"config.json": json.dumps(config).encode()})


@run_defect("a network with a pickled object as weights", BEST)
def _():
    file = io.BytesIO()
    np.save(file, np.array([Executed()], dtype=object), allow_pickle=True)
    edit_archive(BEST, {"model.weights.h5": file.getvalue()})


class Executed:
    """Writes a file where it is unpickled."""

    def __reduce__(self):
        return open, ("executed", "w")


@run_defect("a Keras model that is another network", BEST)
def _():
    keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 1)]).save(BEST)


@run_defect("a network of three modalities", BEST)
def _():
    save_network(BEST, num_modalities=3)


@run_defect("a network of two classes", BEST)
def _():
    save_network(BEST, num_classes=2)


@run_defect("the same network twice, to be averaged", BEST, (*PREDICT, "--run-dir", "run", "copy"))
def _():
    shutil.copytree(RUN, "copy")


@run_defect("--resume of a run that does not exist", RUN, RESUME)
def _():
    shutil.rmtree(RUN)


@run_defect("--resume with other settings", "--seed", (*RESUME, "--seed", "7"))
def _():
    pass


@run_defect("--resume on other patches", RUN, RESUME)
def _():
    set_attribute("seed", 1)


@run_defect("--resume without a state", STATE, RESUME)
def _():
    shutil.rmtree(STATE)


@run_defect("--resume from two damaged states", STATE, RESUME)
def _():
    for path in STATE.iterdir():
        path.write_bytes(path.read_bytes()[:-1])


@run_defect("--resume from the state of another network", STATE, RESUME)
def _():
    other = ("--base-filters", "3", "--run-dir", "other")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        __import__("train").main([*TRAIN[1:], *other])
    shutil.rmtree(STATE)
    shutil.move("other/state", STATE)
    shutil.rmtree("other")


@weights_defect("weights that do not exist", "nowhere.keras")
def _():
    pass


@weights_defect("weights of no known ending", "weights.pt")
def _():
    Path("weights.pt").write_bytes(b"PK")


@weights_defect("weights of another shape", "other.keras", "train")
def _():
    save_network("other.keras", base_filters=3)


@weights_defect("text under the name of an original weight file", "weights.hdf5")
def _():
    Path("weights.hdf5").write_text("weights")


@weights_defect("an HDF5 file without weights", "weights.hdf5", "train")
def _():
    h5py.File("weights.hdf5", "w").close()


@weights_defect("an original weight file written under CNTK", "weights.hdf5")
def _():
    write_original("cntk", num_kernels=11)


@weights_defect("an original weight file of another network", "weights.hdf5")
def _():
    write_original("tensorflow", num_kernels=5)


def write_original(backend, num_kernels):
    """Writes a file as Keras 2 did, of so many convolutions."""
    with h5py.File("weights.hdf5", "w") as file:
        names = [f"conv{number}" for number in range(num_kernels)]
        file.attrs["backend"] = backend
        file.attrs["layer_names"] = names
        for name in names:
            group = file.create_group(name)
            group.attrs["weight_names"] = ["kernel"]
            group["kernel"] = np.zeros((3, 3, 4, 4), np.float32)


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
