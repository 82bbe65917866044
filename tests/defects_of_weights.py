"""Defects of files of weights. See defects.py."""

from pathlib import Path

import h5py
import numpy as np

from tests.defects import TRAIN, defect
from tests.defects_of_runs import save_network

DEFECTS = []


def weights_defect(title, names, script="predict"):
    """Declares the decorated function, which writes the file `names`, as a defect."""
    predict = ("predict.py", "--data-root", "data", "--output", "out")
    command = (TRAIN if script == "train" else predict) + ("--weights", names)
    return defect(DEFECTS, "Weights", title, command, names)


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
