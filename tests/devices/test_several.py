"""Several devices train what one trains. Each test runs in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[2]
BACKEND = keras.backend.backend()
SEVERAL = {"jax": "ShardedDevices", "tensorflow": "Replicas"}
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(BACKEND not in SEVERAL, reason=f"{BACKEND} trains on one device"),
]
# Makes 4 devices out of the processor.
FOUR_DEVICES = """
import json
import sys

backend = sys.argv.pop(1)
if backend == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, 4 * [tf.config.LogicalDeviceConfiguration()])

import keras

from engine.devices.choose import choose_devices
from engine.devices.one import ONE_DEVICE
from losses import build_loss
from model import build_resunet
"""
# Trains a small network on 1, 2 and 4 devices. 80 patches in batches of 4 are 20 steps. 11 and 9
# patches to validate on leave batches that 2 and 4 devices cannot share, one shorter than 4.
TRAINING = """
from brats.editions import REGIONS
from engine.runs.state import Progress
from engine.training.epochs import train_epoch, validate
from losses import SoftDice
from tests.training.test_epochs import MemoryReader

results = []
for number in sys.argv[1:]:
    keras.utils.set_random_seed(0)
    devices = ONE_DEVICE if number == "keras" else choose_devices(int(number))
    with devices.scope():
        model = build_resunet((None, None, 4), base_filters=4, depth=1)
        model.compile(
            optimizer=keras.optimizers.SGD(0.008, momentum=0.9),
            loss=build_loss("published"),
            metrics=[SoftDice(classes, f"dice_{region}") for region, classes in REGIONS.items()],
            jit_compile=backend == "jax",
        )
    devices.adopt(model)
    losses = []
    row = train_epoch(model, MemoryReader(80), 4, 20, 0, Progress(), losses.append, devices)
    scores = [validate(model, MemoryReader(n), 4, devices=devices) for n in (11, 9)]
    for each in (row, *scores):
        [each.pop(name) for name in list(each) if name.endswith("_s")]
    results.append((number, devices.num_devices, type(devices).__name__, losses, [row, *scores]))
json.dump(results, sys.stdout)
"""
# Applies gradients in 16 bits, first such that those of the last of two replicas overflow, then
# finite ones. Prints the weight and the scale of the loss after each.
OVERFLOW = """
keras.config.set_dtype_policy("mixed_float16")
devices = choose_devices(2)
with devices.scope():
    model = build_resunet((None, None, 4), base_filters=2, depth=1)
    model.compile(keras.optimizers.SGD(1.0), build_loss("published"), jit_compile=False)
devices.adopt(model)
variable = model.trainable_variables[-1]
variable.assign(tf.zeros_like(variable))
found = []
for last in (float("inf"), 1.0):

    @tf.function
    def step():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        value = tf.where(replica == 0, 1.0, last) * model.optimizer.dynamic_scale
        gradients = [tf.zeros_like(each) for each in model.trainable_variables[:-1]]
        gradients.append(tf.fill(tf.shape(variable), value))
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    variable.value.distribute_strategy.run(step)
    weight = keras.ops.convert_to_numpy(variable)
    scale = keras.ops.convert_to_numpy(model.optimizer.dynamic_scale)
    found.append((float(weight[0]), float(scale)))
json.dump(found, sys.stdout)
"""


def start(program, *numbers):
    """Starts a program on four devices."""
    xla_flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    return subprocess.Popen(
        [sys.executable, "-c", FOUR_DEVICES + program, BACKEND, *numbers],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": xla_flags, "KERAS_BACKEND": BACKEND},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(process):
    """Returns the JSON that a process has printed."""
    output, messages = process.communicate(timeout=500)
    assert process.returncode == 0, messages
    return json.loads(output)


@pytest.fixture(scope="module")
def results():
    """What the program prints, by the number of devices; "keras" are Keras' steps on one."""
    # TensorFlow fails with strategies of several sizes in one process.
    calls = {"tensorflow": [["keras"], ["2"], ["4"]], "jax": [["keras", "1", "2", "4"]]}
    processes = [start(TRAINING, *numbers) for numbers in calls[BACKEND]]
    return {number: rest for process in processes for number, *rest in printed(process)}


@pytest.mark.parametrize("number", ["1", "2", "4"])
def test_20_steps_the_metrics_and_the_validation_are_those_of_keras(results, number):
    if number not in results:
        pytest.skip("TensorFlow trains with Keras' steps on one device")
    num_devices, kind, losses, rows = results[number]
    assert (num_devices, kind) == (int(number), SEVERAL[BACKEND])
    *_, expected, expected_rows = results["keras"]
    assert len(losses) == len(expected) == 20
    assert losses == pytest.approx(expected, rel=0, abs=1e-5)
    for row, expected_row in zip(rows, expected_rows, strict=True):
        # After the last step the running statistics differ by their rounding.
        assert row == pytest.approx(expected_row, rel=0, abs=1e-4)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow's replicas")
def test_an_overflow_on_any_replica_is_not_applied_and_lowers_the_scale_of_the_loss():
    # The two gradients of 1 are added up, and subtracted at a rate of 1.
    assert printed(start(OVERFLOW)) == [[0.0, 2.0**14], [-2.0, 2.0**14]]
