"""Batches over several devices give what they give on one."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from brats.errors import InputError
from engine.devices.one import ONE_DEVICE, OneDevice, check_batch_size, choose_devices

ROOT = Path(__file__).parents[1]
BACKEND = keras.backend.backend()
# Trains a small network on 1, 2 and 4 virtual devices, with the published rate.
# 80 patches of 4 in a batch are 20 steps; 11 and 9 to validate on leave batches that 2 and 4
# devices cannot share, one of them shorter than 4.
PROGRAM = """
import os
import sys

backend = os.environ["KERAS_BACKEND"]
if backend == "tensorflow":
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, 4 * [tf.config.LogicalDeviceConfiguration()])

import json

import keras

from brats.editions import REGIONS
from engine.runs.state import Progress
from engine.training.epochs import train_epoch, validate
from losses import ClassImbalanceLoss, SoftDice
from tests.test_training import MemoryReader

results = []
for number in sys.argv[1:]:
    keras.utils.set_random_seed(0)
    devices = ONE_DEVICE if number == "keras" else choose_devices(int(number))
    with devices.scope():
        model = build_resunet((None, None, 4), base_filters=4, depth=2)
        model.compile(
            optimizer=keras.optimizers.SGD(0.008, momentum=0.9),
            loss=ClassImbalanceLoss(),
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


# TensorFlow does not bear strategies of several sizes in one process.
NUMBERS = {"tensorflow": [["keras"], ["2"], ["4"]], "jax": [["keras", "1", "2", "4"]]}


class TwelveDevices(OneDevice):
    num_devices, num_hosts, host = 12, 3, 2


def test_the_hosts_share_a_batch_without_overlap_or_gap():
    devices = [TwelveDevices() for _ in range(3)]
    for host, each in enumerate(devices):
        each.host = host
    parts = [list(range(24))[each.share(24)] for each in devices]
    assert sum(parts, []) == list(range(24)) and len(set(map(len, parts))) == 1


def test_every_host_reads_the_whole_of_a_batch_that_cannot_be_shared():
    assert list(range(7))[TwelveDevices().share(7)] == list(range(7))


@pytest.mark.parametrize(
    ("batch_size", "told"),
    [(4, "Make it 12,"), (13, "Make it 12 or 24,"), (31, "Make it 24 or 36,")],
)
def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_sizes(batch_size, told):
    with pytest.raises(
        InputError, match=f"--batch-size is {batch_size}, which 12 devices"
    ) as error:
        check_batch_size(batch_size, TwelveDevices())
    assert told in str(error.value)


def test_a_batch_that_divides_is_taken():
    check_batch_size(24, TwelveDevices())
    check_batch_size(3, ONE_DEVICE)


def test_other_settings_of_a_host_are_told_with_both_values(monkeypatch):
    devices = TwelveDevices()
    first = '{"--seed": 1, "--loss": "a"}'
    digest = np.frombuffer(hashlib.sha256(first.encode()).digest(), np.uint8)
    monkeypatch.setattr(devices, "first_text", lambda text: first, False)
    monkeypatch.setattr(devices, "all_of", lambda own: np.stack([digest, digest, own]), False)
    devices.check_same({"--seed": 1, "--loss": "a"})
    with pytest.raises(InputError, match="Host 2 .* host 0: --seed is 2, there 1. Start all"):
        devices.check_same({"--seed": 2, "--loss": "a"})
    devices.host = 1
    monkeypatch.setattr(
        devices, "all_of", lambda own: np.stack([digest, digest, 1 + digest]), False
    )
    with pytest.raises(InputError, match="Hosts started with other settings than host 0: 2. Their"):
        devices.check_same({"--seed": 1, "--loss": "a"})


def test_one_device_is_the_choice_where_nothing_is_asked():
    for devices in (choose_devices(), choose_devices(1)):
        assert (devices.num_devices, devices.num_hosts, devices.is_first) == (1, 1, True)


def test_more_devices_than_there_are_are_refused():
    told = "training runs on one device" if BACKEND == "torch" else f"{BACKEND} sees "
    with pytest.raises(InputError, match=f"--devices is 99, and .*{told}"):
        choose_devices(99)


@pytest.fixture(scope="module")
def results():
    """What the program prints, by the number of devices; of one by Keras' own steps as "keras"."""
    if BACKEND not in ("tensorflow", "jax"):
        pytest.skip(f"{BACKEND} trains on one device")
    devices = "--xla_force_host_platform_device_count=4"
    flags = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {devices}", "KERAS_BACKEND": BACKEND}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *numbers],
            cwd=ROOT,
            env=os.environ | flags,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for numbers in NUMBERS[BACKEND]
    ]
    found = {}
    for process in processes:
        output, messages = process.communicate(timeout=500)
        assert process.returncode == 0, messages
        found |= {number: rest for number, *rest in json.loads(output)}
    return found


def test_as_many_devices_are_used_as_asked_for(results):
    several = {"jax": "ShardedDevices", "tensorflow": "Replicas"}[BACKEND]
    expected = {"keras": [1, "OneDevice"]} | {str(n): [n, several] for n in (1, 2, 4)}
    assert {number: rest[:2] for number, rest in results.items()} == {
        number: expected[number] for numbers in NUMBERS[BACKEND] for number in numbers
    }


@pytest.mark.parametrize("number", ["1", "2", "4"])
def test_the_losses_of_20_steps_the_metrics_and_the_validation_are_those_of_keras(results, number):
    if number not in results:
        pytest.skip("TensorFlow takes Keras' own steps on one device")
    *_, losses, rows = results[number]
    *_, expected, expected_rows = results["keras"]
    assert len(losses) == len(expected) == 20
    assert losses == pytest.approx(expected, rel=0, abs=1e-5)
    for row, expected_row in zip(rows, expected_rows, strict=True):
        # After the last step the running statistics differ by their rounding.
        assert row == pytest.approx(expected_row, rel=0, abs=1e-4)


# Applies gradients in 16 bits, of which those of the last of two replicas overflow, and then finite
# ones; prints the weight and the scale of the loss after each.
OVERFLOW = """
import json
import sys

import tensorflow as tf

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])

import keras

from model import build_resunet

keras.config.set_dtype_policy("mixed_float16")
devices = choose_devices(2)
with devices.scope():
    model = build_resunet((None, None, 4), base_filters=2, depth=1)
    model.compile(keras.optimizers.SGD(1.0), ClassImbalanceLoss(), jit_compile=False)
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


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow's replicas")
def test_an_overflow_on_any_replica_is_not_applied_and_lowers_the_scale_of_the_loss():
    result = subprocess.run(
        [sys.executable, "-c", OVERFLOW], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    # The two gradients of 1 are summed, and go down at a rate of 1.
    assert json.loads(result.stdout) == [[0.0, 2.0**14], [-2.0, 2.0**14]]
