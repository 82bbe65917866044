"""Defects of a run folder and of the networks in it. See defects.py."""

import contextlib
import io
import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np

from model import build_resunet
from tests.defects import PREDICT, RESUME, RUN, TRAIN, defect
from tests.defects_of_patches import set_attribute

BEST, RECORD, STATE = RUN / "best.keras", RUN / "config.json", RUN / "state"
DEFECTS = []


def run_defect(title, names, command=PREDICT):
    """Declares the decorated function, which spoils the run folder, as a defect."""
    return defect(DEFECTS, "Run folders", title, command, names)


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
