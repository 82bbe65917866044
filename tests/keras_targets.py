"""The readers that need Keras, given damaged files as those of `tests/targets.py`.

In: an empty folder. Out, for every kind of file: a function that writes one damaged file by a
generator and returns its path, and the functions that read it.
"""

import hashlib
import io
import json

import keras
import numpy as np

from brats.files import write_table
from brats.patches.file import AGREEMENT
from engine.networks.choose import find_networks, read_network
from engine.runs.folder import add_to_record, backend_warnings, check_may_start
from engine.runs.state import DIGEST_SIZE, Progress, read_state, write_state
from model import build_resunet
from tests import mutations
from tests.mutations import choose
from tests.mutations_of_hdf5 import mutate_hdf5
from tests.synthetic import write_constant_network
from tests.targets import json_writer

LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wA="}}},
    "registered_name": None,
}


def run_record(folder):
    """`config.json` of a run folder, as training goes on from it and as prediction reads it."""
    (folder / "best.keras").touch()
    path = folder / "config.json"
    settings = {"resume": True, "schedule": "cosine", "epochs": 3, "learning_rate": 0.1}
    extraction = AGREEMENT | {"split": {"train": ["a", "b"], "validation": ["c"]}}
    write = json_writer(path, {"settings": settings, "extraction": extraction, "resumed": []})
    return write, (
        lambda: find_networks([folder], "best"),
        lambda: check_may_start(folder, settings, extraction),
        lambda: backend_warnings(folder, "tensorflow on cpu:0"),
        lambda: add_to_record(folder, 1, 0, {"settings": settings}),
    )


def state(folder):
    """The state of a run, most often with the right checksum."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    row = {"epoch": 1, "loss": 0.5, "val_loss": 0.25}
    write_state(folder, model, Progress([row], 3, [0.5, 1.0], 0.1, 1.0, 2.0, {}, [0.25]))
    path = folder / "state" / "newest.npz"
    valid = path.read_bytes()[:-DIGEST_SIZE]

    def mutate_member(name, content, rng):
        if name == "progress.npy" and rng.integers(8):
            value = json.loads(np.load(io.BytesIO(content)).tobytes())
            array = np.frombuffer(mutations.mutate_json(value, rng), np.uint8)
        elif rng.integers(2):
            return mutations.mutate_bytes(content, rng)
        else:
            kind = choose(rng, ("f4", "c8", "U3", "i8", "bool", "f2", "M8[s]"))
            array = np.zeros(choose(rng, ((), (0,), (2,), (3, 2), (2, 3))), kind)
        stored = io.BytesIO()
        np.save(stored, array)
        return stored.getvalue()

    def write(rng):
        data = mutations.mutate_archive(valid, rng, mutate_member)
        path.write_bytes(data + hashlib.sha256(data).digest()[: choose(rng, (32, 32, 32, 31))])
        return path

    def read():
        progress, _ = read_state(folder, model)
        assert str(progress)
        write_table(folder / "history.csv", progress.history)

    return write, (read,)


def original_weights(folder):
    """A whole model in HDF5, as Keras 2 wrote it."""
    path = folder / "original.hdf5"
    build_resunet((None, None, 4), base_filters=2, depth=1).save(path)
    valid = path.read_bytes()

    def write(rng):
        path.unlink()  # HDF5 knows a file that it has failed to close.
        path.write_bytes(valid)
        mutate_hdf5(path, rng)
        return path

    return write, (lambda: _read(path),)


def network(folder):
    """A `.keras` archive: its settings, its weights, and the archive itself."""
    path = write_constant_network(folder / "best.keras", [0.25] * 4)
    valid, weights = path.read_bytes(), folder / "weights.h5"

    def mutate_member(name, content, rng):
        if name.endswith(".json"):
            return mutations.mutate_json(choose(rng, (LAMBDA, *[json.loads(content)] * 5)), rng)
        weights.unlink(missing_ok=True)
        weights.write_bytes(content)
        mutate_hdf5(weights, rng)
        return weights.read_bytes()

    def write(rng):
        path.write_bytes(mutations.mutate_archive(valid, rng, mutate_member))
        return path

    return write, (lambda: _read(path),)


def _read(path):
    keras.utils.clear_session()  # Or the graphs of all networks stay in memory.
    network = read_network(path, build_resunet)
    assert network.output_shape == (None, None, None, 4)
