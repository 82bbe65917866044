"""What differs between backends: names, compilation, precision, and how a network is run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import engine
from brats.errors import InputError
from engine.devices import backend
from engine.prediction.background import background_network
from model import build_resunet

ROOT = Path(__file__).parents[2]
HERE = keras.backend.backend()


@pytest.fixture
def visible(monkeypatch):
    """Returns a function that lists the given devices instead of those of the backend."""
    return lambda *names: monkeypatch.setattr(backend, "_list_devices", lambda: list(names))


@pytest.fixture
def pretend(monkeypatch):
    """Returns a function that makes Keras name another backend."""
    return lambda name: monkeypatch.setattr(keras.backend, "backend", lambda: name)


def small_network():
    return build_resunet((None, None, 2), base_filters=2, depth=1)


def test_the_device_is_described_with_its_backend(visible):
    # On a CPU with the threads, as sums over another number of them round differently.
    assert re.fullmatch(rf"{HERE} on cpu:0 \([1-9]\d* threads\)", backend.describe_device())
    visible("gpu:0", "gpu:1")
    assert backend.describe_device() == f"{HERE} on gpu:0, gpu:1"


def test_threads_are_all_cores_of_the_process_unless_a_variable_says_otherwise(
    pretend, visible, monkeypatch
):
    pretend("tensorflow")
    visible("cpu:0")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    for value, expected in ((None, 3), ("0", 3), ("7", 7)):
        if value:
            monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", value)
        else:
            monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
        assert f"({expected} threads)" in backend.describe_device()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 33.2 GiB"),
        type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 79417811840 bytes."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."),
        RuntimeError("[CPU] Convolution node: Failed to allocate 5529600000 bytes of memory"),
    ],
)
def test_out_of_memory_is_one_sentence_that_names_the_batch_size(error):
    message = "Out of memory with --batch-size 9 .*Give a smaller"
    with pytest.raises(InputError, match=message), backend.naming_batch_size(9):
        raise error
    with pytest.raises(RuntimeError, match="^another$"), backend.naming_batch_size(9):
        raise RuntimeError("another")


@pytest.mark.parametrize(
    ("name", "device", "expected"),
    [("tensorflow", "cpu:0", False), ("tensorflow", "gpu:0", "auto"), ("jax", "cpu:0", "auto")],
)
def test_compilation_is_off_only_for_tensorflow_on_a_cpu(visible, pretend, name, device, expected):
    visible(device)
    pretend(name)
    assert backend.training_compilation() == expected


@pytest.mark.parametrize(
    ("device", "policy"), [("cuda:0", "mixed_float16"), ("cpu:0", "mixed_bfloat16")]
)
def test_mixed_precision_is_that_of_the_device(visible, device, policy):
    visible(device)
    try:
        backend.prepare_training(0, mixed_precision=True, deterministic=False)
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy("float32")


def test_determinism_is_a_flag_of_xla_or_a_call_of_tensorflow(pretend, monkeypatch):
    pretend("jax")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
    backend.prepare_training(0, mixed_precision=False, deterministic=True)
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=here --xla_gpu_deterministic_ops=true"
    calls = []
    config = pytest.importorskip("tensorflow").config.experimental
    monkeypatch.setattr(config, "enable_op_determinism", lambda: calls.append(1))
    pretend("tensorflow")
    backend.prepare_training(0, mixed_precision=False, deterministic=False)
    assert not calls
    backend.prepare_training(0, mixed_precision=False, deterministic=True)
    assert calls


def test_backends_that_cannot_do_what_is_asked_are_refused(pretend):
    pretend("torch")
    with pytest.raises(InputError, match="--deterministic needs TensorFlow or JAX, .* is torch"):
        backend.prepare_training(0, mixed_precision=False, deterministic=True)
    pretend("openvino")
    with pytest.raises(InputError, match="openvino, which does not train. Train with another"):
        backend.check_can_train()


def test_a_predictor_builds_its_network_once_and_gives_its_output_at_any_size(rng):
    built = []

    def build():
        built.append(small_network())
        return built[-1]

    predict = backend.build_predictor(build)
    assert built == []  # Not before the first batch.
    for shape in ((2, 16, 24, 2), (1, 8, 10, 2)):
        images = rng.normal(size=shape).astype("float32")
        found = np.asarray(predict(images))
        expected = keras.ops.convert_to_numpy(built[0](images, training=False))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(built) == 1


@pytest.mark.nightly
def test_a_backend_that_cannot_start_ends_a_script_with_one_sentence():
    messages = {"foo": "KERAS_BACKEND is foo; expected one of tensorflow, jax, torch, openvino."}
    messages["jax"] = "KERAS_BACKEND is jax, and the package jax is not installed. Run `pip "
    for name, message in messages.items():
        # The import of jax fails as if it was not there.
        program = "import sys; sys.modules['jax'] = None; import train; "
        program += "train.end_with_code(lambda: train.main([]))"
        result = run(program, KERAS_BACKEND=name)
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
        assert result.stderr.startswith(f"Error: {message}")


def test_while_libraries_are_loaded_only_lines_that_inform_are_left_out(monkeypatch, capfd):
    informing = (
        "I0000 00:00:1795880969.981640    8624 port.cc:153] oneDNN custom operations are on."
    )
    monkeypatch.setenv(engine.LOG_LEVEL, "3")
    with engine.leaving_out_log_lines():
        os.write(2, f"{informing}\nE{informing[1:]}\nIllegal instruction\n".encode())
    assert capfd.readouterr().err == f"E{informing[1:]}\nIllegal instruction\n"


@pytest.mark.nightly
def test_the_backend_and_its_devices_print_nothing(monkeypatch):
    monkeypatch.delenv(engine.LOG_LEVEL)
    result = run("from engine.devices.backend import describe_device; describe_device()")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.nightly
def test_what_other_backends_need_is_not_imported():
    # TensorFlow imports JAX where it is installed, and Keras on JAX TensorFlow.
    names = {"torch", "distributed", "engine.devices.replicas", "engine.devices.sharding"} - {HERE}
    program = "import sys, engine.prediction.cases, engine.devices.choose, engine.runs.writer; "
    program += f"sys.exit(' '.join({names} & set(sys.modules)) or 0)"
    result = run(program)
    assert result.returncode == 0, result.stderr


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


@pytest.mark.nightly
def test_openvino_predicts_the_same_without_tensorflow(tmp_path, rng):
    pytest.importorskip("openvino", reason="requirements/openvino.txt is not installed")
    network = small_network()
    weights, inputs, *outputs = (tmp_path / name for name in ("a.weights.h5", "b", "c", "d"))
    inputs, *outputs = (path.with_suffix(".npy") for path in (inputs, *outputs))
    network.save_weights(weights)
    images = np.full((2, 32, 40, 2), -9, dtype="float32")
    images[:, 10:20, 12:28] = rng.normal(size=(2, 10, 16, 2))
    np.save(inputs, images)
    result = run(OPENVINO, weights, inputs, *outputs, KERAS_BACKEND="openvino")
    assert result.returncode == 0, result.stderr
    for path, each in zip(outputs, (network, background_network(network)), strict=True):
        expected = keras.ops.convert_to_numpy(each(images, training=False))
        np.testing.assert_allclose(np.load(path), expected, rtol=0, atol=1e-5)


def run(program, *arguments, **environment):
    """Runs a program in the root of the repository."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        close_fds=False,  # Else Python forks, which JAX warns of.
    )
