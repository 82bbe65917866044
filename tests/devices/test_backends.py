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
from brats.phantom.cohort import write_cohort
from engine.networks.choose import read_network
from engine.runs.folder import network_path, read_record
from model import build_resunet
from tests.network_fixtures import FOLDER, slices

ROOT = Path(__file__).parents[1]
BACKENDS = ("tensorflow", "jax", "torch")
HERE = keras.backend.backend()
OTHERS = [name for name in BACKENDS if name != HERE and find_spec(name)]
# Trains for one epoch, and writes what the best network says of the slices.
PROGRAM = """
import sys

import keras
import numpy as np

import extract_patches
import predict
import train
from brats.phantom.cohort import write_cohort
from engine.networks.choose import read_network
from model import build_resunet
from tests.network_fixtures import slices

run_dir, *flags = sys.argv[1:]
train.main(["--run-dir", run_dir, *flags])
network = read_network(f"{run_dir}/best.keras", build_resunet)
softmax = network(slices(), training=False)
np.save(f"{run_dir}/softmax.npy", keras.ops.convert_to_numpy(softmax))
"""


def softmax(path):
    network = read_network(path, build_resunet)
    return keras.ops.convert_to_numpy(network(slices(), training=False))


def test_what_is_for_other_backends_is_not_loaded():
    # TensorFlow imports JAX where it is installed, and Keras on JAX TensorFlow.
    names = {"torch", "distributed", "engine.devices.replicas", "engine.devices.sharding"} - {HERE}
    program = f"import sys, train, predict; sys.exit(' '.join({names} & set(sys.modules)) or 0)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_networks_that_any_backend_wrote_say_here_what_they_said_there(backend):
    expected = np.load(FOLDER / f"{backend}.npy")
    assert expected.shape == (2, 16, 24, 4) and expected.std() > 0.01
    np.testing.assert_allclose(softmax(FOLDER / f"{backend}.keras"), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", OTHERS)
def test_a_run_of_another_backend_is_read_goes_on_and_predicts_here(backend, tmp_path, capsys):
    cases, patches, run_dir = (tmp_path / name for name in ("cases", "patches.h5", "run"))
    write_cohort(cases, num_cases=3, seed=0, shape=(12, 160, 144))
    flags = ["--data-root", str(cases), "--output", str(patches), "--patches-per-case", "5"]
    extract_patches.main(flags)
    flags = ["--patches", str(patches), "--base-filters", "2", "--depth", "1", "--batch-size", "4"]
    subprocess.run(
        [sys.executable, "-c", PROGRAM, run_dir, *flags, "--epochs", "1"],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend},
        check=True,
        timeout=300,
    )
    expected = np.load(run_dir / "softmax.npy")
    np.testing.assert_allclose(softmax(network_path(run_dir, "best")), expected, rtol=0, atol=1e-5)
    first = (run_dir / "history.csv").read_text().splitlines()
    train.main(["--run-dir", str(run_dir), *flags, "--epochs", "2", "--resume"])
    assert f"was trained with {backend}" in capsys.readouterr().err
    history = (run_dir / "history.csv").read_text().splitlines()
    assert history[:2] == first and len(history) == 3
    rates = [line.split(",")[history[0].split(",").index("iterations")] for line in history[1:]]
    assert rates == ["3", "6"]
    assert read_record(run_dir)["resumed"][0]["device"].startswith(HERE)
    output = tmp_path / "predictions"
    predict.main(["--run-dir", str(run_dir), "--data-root", str(cases), "--output", str(output)])
    (case,) = read_record(run_dir)["extraction"]["split"]["validation"]
    assert (output / f"{case}.nii.gz").exists() and (output / "report.html").exists()
    assert (output / "scores.csv").read_text().count(case) == 3
