"""What follows from the device: names, compilation, precision."""

import keras
import numpy as np
import pytest

from engine import devices
from model import build_resunet


@pytest.fixture
def visible(monkeypatch):
    """Makes Keras list the given devices."""

    def show(*names):
        monkeypatch.setattr(keras.distribution, "list_devices", lambda: list(names))

    return show


def test_device_is_described_with_its_backend(visible):
    visible("gpu:0", "gpu:1")
    assert devices.describe_device() == f"{keras.backend.backend()} on gpu:0, gpu:1"


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
