"""What follows from the device: names, compilation, precision."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from brats.errors import InputError
from engine import devices
from engine.prediction.background import background_network
from model import build_resunet

ROOT = Path(__file__).parents[1]


@pytest.fixture
def visible(monkeypatch):
    """Lists the given devices instead of those of the backend."""

    def show(*names):
        monkeypatch.setattr(devices, "_list_devices", lambda: list(names))

    return show


def test_device_is_described_with_its_backend(visible):
    visible("gpu:0", "gpu:1")
    assert devices.describe_device() == f"{keras.backend.backend()} on gpu:0, gpu:1"


def test_without_a_gpu_the_processor_is_the_device():
    assert devices.describe_device() == f"{keras.backend.backend()} on cpu:0"
    assert not devices.has_gpu()


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="of PyTorch")
def test_pytorch_names_the_gpus_that_it_sees(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.describe_device() == "torch on cuda:0, cuda:1"
    assert devices.has_gpu()


@pytest.mark.parametrize(
    ("name", "policy"), [("gpu:0", "mixed_float16"), ("cpu:0", "mixed_bfloat16")]
)
def test_precision_is_that_of_the_device(visible, name, policy):
    visible(name)
    assert devices.mixed_precision_policy() == policy


@pytest.mark.parametrize(
    ("backend", "name", "expected"),
    [("tensorflow", "cpu:0", False), ("tensorflow", "gpu:0", "auto"), ("jax", "cpu:0", "auto")],
)
def test_compilation_is_off_only_for_tensorflow_on_a_cpu(
    visible, monkeypatch, backend, name, expected
):
    visible(name)
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    assert devices.training_compilation() == expected


def test_determinism_on_jax_is_a_flag_that_xla_knows(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
    devices.prepare_training(0, mixed_precision=False, deterministic=True)
    flag = "--xla_gpu_deterministic_ops=true"
    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=here {flag}"
    pytest.importorskip("jax", reason="JAX is not installed")
    # XLA ends the process where it does not know a flag.
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    subprocess.run(command, check=True, env=os.environ | {"XLA_FLAGS": flag}, timeout=100)


def test_determinism_on_tensorflow_is_asked_of_it(monkeypatch):
    config = pytest.importorskip("tensorflow").config.experimental
    calls = []
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(config, "enable_op_determinism", lambda: calls.append(1))
    devices.prepare_training(0, mixed_precision=False, deterministic=False)
    assert calls == []
    devices.prepare_training(0, mixed_precision=False, deterministic=True)
    assert calls == [1]


def test_a_backend_that_cannot_be_made_deterministic_is_told(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(InputError, match="--deterministic is for TensorFlow and JAX; .* is torch"):
        devices.prepare_training(0, mixed_precision=False, deterministic=True)


@pytest.mark.parametrize(("backend", "pixels"), [("tensorflow", 8), ("openvino", 8), ("jax", 32)])
def test_few_shapes_of_boxes_where_each_is_compiled(monkeypatch, backend, pixels):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    assert devices.box_rounding() == pixels


OPENVINO = """
import sys
import keras
import numpy as np
from engine.prediction.background import background_network
from engine.devices.backend import build_predictor
from model import build_resunet

network = build_resunet((None, None, 2), base_filters=2, depth=1)
network.load_weights(sys.argv[1])
images = np.load(sys.argv[2])
np.save(sys.argv[3], build_predictor(lambda: network)(images))
np.save(sys.argv[4], build_predictor(lambda: background_network(network))(images))
assert sys.modules["tensorflow"] is None
"""


def test_openvino_says_the_same_without_tensorflow(tmp_path, rng):
    pytest.importorskip("openvino", reason="requirements-openvino.txt is not installed")
    network = build_resunet((None, None, 2), base_filters=2, depth=1)
    weights = tmp_path / "network.weights.h5"
    network.save_weights(weights)
    images = np.full((2, 32, 40, 2), -9, dtype="float32")
    images[:, 10:20, 12:28] = rng.normal(size=(2, 10, 16, 2))
    np.save(tmp_path / "images.npy", images)
    outputs = [tmp_path / "whole.npy", tmp_path / "boxes.npy"]
    command = [sys.executable, "-c", OPENVINO, weights, tmp_path / "images.npy", *outputs]
    environment = os.environ | {"KERAS_BACKEND": "openvino", "PYTHONPATH": str(ROOT)}
    # Without closing files there is no fork, which JAX warns of.
    subprocess.run(command, check=True, env=environment, timeout=100, close_fds=False)
    for path, build in zip(
        outputs, (lambda: network, lambda: background_network(network)), strict=True
    ):
        expected = np.asarray(devices.build_predictor(build)(images))
        np.testing.assert_allclose(np.load(path), expected, rtol=0, atol=1e-5)


def test_a_predictor_says_what_the_network_says_at_any_size(rng):
    network = build_resunet((None, None, 2), base_filters=2, depth=1)
    predict = devices.build_predictor(lambda: network)
    for shape in ((2, 16, 24, 2), (1, 8, 10, 2)):
        images = rng.normal(size=shape).astype("float32")
        expected = keras.ops.convert_to_numpy(network(images, training=False))
        np.testing.assert_allclose(np.asarray(predict(images)), expected, atol=1e-5)


def test_a_predictor_builds_its_network_once_and_only_for_a_batch():
    built = []

    def build():
        built.append(build_resunet((None, None, 2), base_filters=2, depth=1))
        return built[-1]

    predict = devices.build_predictor(build)
    assert built == []
    for _ in range(2):
        predict(np.zeros((1, 8, 8, 2), dtype=np.float32))
    assert len(built) == 1
