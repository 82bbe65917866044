"""What one backend writes, the others read."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

import extract_patches
import predict
import train
from brats.files import read_table
from engine.networks.choose import read_network
from engine.runs.folder import network_path, read_record
from model import build_resunet
from tests.network_fixtures import FOLDER, slices

ROOT = Path(__file__).parents[2]
BACKENDS = ("tensorflow", "jax", "torch")
HERE = keras.backend.backend()
OTHERS = [name for name in BACKENDS if name != HERE and find_spec(name)]
# Trains for one epoch, and writes the output of the best network.
PROGRAM = """
import sys

import numpy as np

import train
from tests.devices.test_backends import softmax

run_dir, *flags = sys.argv[1:]
train.main(["--run-dir", run_dir, *flags])
np.save(f"{run_dir}/softmax.npy", softmax(f"{run_dir}/best.keras"))
"""


def softmax(path):
    """Returns the output of a network for two random slices."""
    network = read_network(path, build_resunet)
    return keras.ops.convert_to_numpy(network(slices(), training=False))


@pytest.mark.parametrize("backend", BACKENDS)
def test_networks_that_any_backend_wrote_have_the_same_output_here(backend):
    expected = np.load(FOLDER / f"{backend}.npy")
    assert expected.shape == (2, 16, 24, 4) and expected.std() > 0.01
    np.testing.assert_allclose(softmax(FOLDER / f"{backend}.keras"), expected, rtol=0, atol=1e-5)


@pytest.mark.nightly
@pytest.mark.parametrize("backend", OTHERS)
def test_a_run_of_another_backend_is_read_resumed_and_predicts_here(
    backend, cohort, tmp_path, capsys
):
    patches, run_dir, output = (tmp_path / name for name in ("patches", "run", "predictions"))
    flags = ["--data-root", str(cohort), "--output", str(patches), "--patches-per-case", "5"]
    extract_patches.main(flags)
    flags = ["--patches", str(patches), "--base-filters", "2", "--depth", "1", "--batch-size", "5"]
    subprocess.run(
        [sys.executable, "-c", PROGRAM, run_dir, *flags, "--epochs", "1"],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend},
        check=True,
        timeout=300,
    )
    expected = np.load(run_dir / "softmax.npy")
    np.testing.assert_allclose(softmax(network_path(run_dir, "best")), expected, rtol=0, atol=1e-5)
    first = read_table(run_dir / "history.csv")
    train.main(["--run-dir", str(run_dir), *flags, "--epochs", "2", "--resume"])
    assert f"was trained with {backend}" in capsys.readouterr().err
    history = read_table(run_dir / "history.csv")
    assert history[:1] == first
    assert [float(row["iterations"]) for row in history] == [3, 6]
    record = read_record(run_dir)
    assert record["resumed"][0]["device"].startswith(HERE)
    predict.main(["--run-dir", str(run_dir), "--data-root", str(cohort), "--output", str(output)])
    (case,) = record["split"]["validation"]
    assert (output / f"{case}.nii.gz").exists() and (output / "report.html").exists()
