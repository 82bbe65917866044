"""The state of a run: written complete, read back bit for bit, and one generation before it."""

import hashlib
import io
import json

import keras
import numpy as np
import pytest

from brats.errors import InputError
from engine.devices.one import OneDevice
from engine.runs.state import Progress, clear_state, read_state, spread, write_state

HISTORY = [{"epoch": 1, "loss": 0.1 + 0.2, "iterations": 7}]


class SecondHost(OneDevice):
    """A host to which host 0 gives 1 throughout the first array, 2 in the second, and a text."""

    num_hosts, host = 2, 1

    def __init__(self, text):
        self.text = text

    def first_of(self, arrays):
        return [np.full_like(array, index) for index, array in enumerate(arrays, 1)]

    def first_text(self, text):
        return self.text


def noisy_network(num_outputs=2, optimizer=None):
    """A compiled network with a layer that draws random numbers."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.GaussianNoise(0.1), keras.layers.Dense(num_outputs)]
    network = keras.Sequential([keras.Input((3,)), *layers])
    optimizer = optimizer or keras.optimizers.SGD(0.1, momentum=0.9)
    network.compile(optimizer, "mse", jit_compile=False)
    return network


def train_steps(network, num_steps, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(num_steps):
        shape = 4, network.output_shape[-1]
        network.train_on_batch(rng.normal(size=(4, 3)), rng.normal(size=shape))


def values(network):
    variables = [*network.variables, *network.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assert_same(first, second):
    for expected, value in zip(first, second, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.fixture
def two_states(tmp_path):
    """A run folder with the states after 2 and after 5 steps, and the variables of both."""
    network, after = noisy_network(), {}
    for num_steps, more in ((2, 2), (5, 3)):
        train_steps(network, more)
        write_state(tmp_path, network, Progress(HISTORY, step=num_steps))
        after[num_steps] = values(network)
    return tmp_path, after


def test_a_state_comes_back_bit_for_bit(tmp_path):
    network = noisy_network()
    train_steps(network, 3)
    # 0.1 + 0.2 is not the number that "0.3" is read as.
    progress = Progress(HISTORY, 3, [0.1 + 0.2, 1e-30], 0.008, 1.5, 2.5, {"epoch": 2}, [1 / 3])
    write_state(tmp_path, network, progress)
    restored = noisy_network()
    assert read_state(tmp_path, restored) == (progress, None)
    assert_same(values(network), values(restored))
    # Kernel and bias, state of the noise, momenta of both, iterations and learning rate.
    assert len(values(restored)) == 7
    # The noise of the next steps is that of the network that was not interrupted.
    for each in (network, restored):
        train_steps(each, 2, seed=1)
    assert_same(values(network), values(restored))


def test_the_scale_of_a_float16_loss_comes_back(tmp_path):
    network, restored = (
        noisy_network(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
        for _ in range(2)
    )
    train_steps(network, 2)
    network.optimizer.dynamic_scale.assign(1024.0)
    network.optimizer.step_counter.assign(17)
    write_state(tmp_path, network, Progress())
    read_state(tmp_path, restored)
    assert float(restored.optimizer.dynamic_scale) == 1024.0
    assert int(restored.optimizer.step_counter) == 17
    assert_same(values(network), values(restored))


def test_two_generations_are_kept_and_the_newest_is_read(two_states):
    run_dir, after = two_states
    network = noisy_network()
    write_state(run_dir, network, Progress(HISTORY, step=6))
    names = sorted(path.name for path in (run_dir / "state").iterdir())
    assert names == ["newest.npz", "previous.npz"]
    assert read_state(run_dir, network)[0].step == 6
    (run_dir / "state" / "newest.npz").unlink()  # As after a kill between the two renamings.
    progress, warning = read_state(run_dir, network)
    assert (progress.step, warning) == (5, None)
    assert_same(after[5], values(network))


def with_a_changed_bit(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def of_another_version(content):
    file = io.BytesIO()
    progress = json.dumps({"version": 2, "mood": "good"}).encode()
    np.savez(file, progress=np.frombuffer(progress, dtype=np.uint8))
    return file.getvalue() + hashlib.sha256(file.getvalue()).digest()


DAMAGES = {
    "nothing": (lambda content: b"", "is damaged: its checksum is wrong"),
    "cut short": (lambda content: content[:-1], "is damaged: its checksum is wrong"),
    "a changed bit": (with_a_changed_bit, "is damaged: its checksum is wrong"),
    "another version": (of_another_version, "was written by another version"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_if_the_newest_state_is_damaged_the_one_before_is_read_with_a_warning(damage, two_states):
    run_dir, after = two_states
    change, reason = DAMAGES[damage]
    newest = run_dir / "state" / "newest.npz"
    newest.write_bytes(change(newest.read_bytes()))
    network = noisy_network()
    progress, warning = read_state(run_dir, network)
    assert progress == Progress(HISTORY, step=2)
    assert f"{newest} {reason}" in warning and "after step 2 of epoch 2" in warning
    assert_same(after[2], values(network))
    # The next state does not replace the only good one.
    write_state(run_dir, network, Progress(HISTORY, step=3))
    newest.unlink()
    assert read_state(run_dir, network) == (Progress(HISTORY, step=2), None)


def test_two_damaged_states_are_an_error_that_changes_nothing(two_states):
    run_dir, _ = two_states
    for path in (run_dir / "state").iterdir():
        path.write_bytes(with_a_changed_bit(path.read_bytes()))
    contents = [path.read_bytes() for path in sorted((run_dir / "state").iterdir())]
    network = noisy_network()
    before = values(network)
    message = "newest.npz .*previous.npz .*No other state is left.*--overwrite.*--weights"
    with pytest.raises(InputError, match=message):
        read_state(run_dir, network)
    assert_same(before, values(network)[: len(before)])
    assert [path.read_bytes() for path in sorted((run_dir / "state").iterdir())] == contents


def test_the_state_of_another_network_is_refused(two_states):
    with pytest.raises(InputError, match="is the state of another network"):
        read_state(two_states[0], noisy_network(num_outputs=5))


def test_a_missing_state_is_an_error(two_states):
    clear_state(two_states[0])
    with pytest.raises(FileNotFoundError, match="state holds no state.*--overwrite"):
        read_state(two_states[0], noisy_network())


def test_a_progress_says_its_place_in_the_run():
    assert str(Progress()) == "no step"
    assert str(Progress(HISTORY)) == "epoch 1"
    assert str(Progress(HISTORY, step=3)) == "step 3 of epoch 2"


def test_other_hosts_take_over_the_variables_and_the_progress_of_the_first():
    network = noisy_network()
    text = json.dumps(vars(Progress(HISTORY, step=3)))
    assert spread(network, Progress(), SecondHost(text)) == Progress(HISTORY, step=3)
    assert [set(value.ravel()) for value in values(network)] == [
        {index} for index, _ in enumerate(values(network), 1)
    ]
