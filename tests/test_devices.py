"""What follows from the device: names, compilation, precision."""

import keras
import pytest

from engine import devices


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
