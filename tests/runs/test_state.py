"""The state of a run: written whole, read back bit for bit, and one generation before it."""

import hashlib
import io
import json

import keras
import numpy as np
import pytest

from brats.errors import InputError
from engine import state
from engine.devices.one import OneDevice
from engine.runs.state import Progress, StateWriter, clear_state, read_state, spread, write_state

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


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(state, "time", clock)
    return clock


def noisy_network(num_outputs=2, optimizer=None):
    """A compiled network with a layer that draws random numbers, and one batch of training."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.GaussianNoise(0.1), keras.layers.Dense(num_outputs)]
    network = keras.Sequential([keras.Input((3,)), *layers])
    optimizer = optimizer or keras.optimizers.SGD(0.1, momentum=0.9)
    network.compile(optimizer, "mse", jit_compile=False)
    return network


def scaled_adam():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())


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
    # The noise of the steps to come is that of the network that was not interrupted.
    for each in (network, restored):
        train_steps(each, 2, seed=1)
    assert_same(values(network), values(restored))


def test_the_scale_of_a_float16_loss_comes_back(tmp_path):
    network = noisy_network(optimizer=scaled_adam())
    train_steps(network, 2)
    network.optimizer.dynamic_scale.assign(1024.0)
    network.optimizer.step_counter.assign(17)
    write_state(tmp_path, network, Progress())
    restored = noisy_network(optimizer=scaled_adam())
    read_state(tmp_path, restored)
    assert float(restored.optimizer.dynamic_scale) == 1024.0
    assert int(restored.optimizer.step_counter) == 17
    assert_same(values(network), values(restored))


def test_two_generations_are_kept_and_the_newest_is_read(two_states):
    run_dir, after = two_states
    network = noisy_network()
    write_state(run_dir, network, Progress(HISTORY, step=6))
    assert sorted(path.name for path in (run_dir / "state").iterdir()) == [
        "newest.npz",
        "previous.npz",
    ]
    assert read_state(run_dir, network)[0].step == 6
    (run_dir / "state" / "newest.npz").unlink()  # As after a kill between the two renamings.
    progress, warning = read_state(run_dir, network)
    assert (progress.step, warning) == (5, None)
    assert_same(after[5], values(network))


def truncated(content):
    return content[: len(content) // 2]


def with_a_changed_bit(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def forged(**arrays):
    """Returns arrays as a file with the right checksum."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue() + hashlib.sha256(file.getvalue()).digest()


def as_json(**values):
    return np.frombuffer(json.dumps(values).encode(), dtype=np.uint8)


DAMAGES = {
    "nothing": (lambda content: b"", "its checksum is wrong"),
    "garbage": (lambda content: b"\x00\xff" * 500, "its checksum is wrong"),
    "cut short": (truncated, "its checksum is wrong"),
    "a changed bit": (with_a_changed_bit, "its checksum is wrong"),
    "no arrays": (lambda content: forged(progress=as_json(version=1)), "of another network"),
    "no progress": (lambda content: forged(a=np.zeros(3)), "not a state that train.py wrote"),
    "another version": (lambda content: forged(progress=as_json(version=2)), "has version 2"),
    "unknown values": (
        lambda content: forged(progress=as_json(version=1, mood="good")),
        "not a state that train.py wrote",
    ),
    "values of other types": (
        lambda content: forged(progress=as_json(version=1, history=3)),
        "history is int, not list",
    ),
    "an array larger than any variable": (
        lambda content: forged(a=np.zeros(10**4), progress=as_json(version=1)),
        "is the state of another network",
    ),
    "text instead of numbers": (
        lambda content: forged(a=np.array(["a"]), progress=as_json(version=1)),
        "a.npy holds values of type <U1",
    ),
    "pickled objects": (
        lambda content: forged(progress=np.array([print], dtype=object)),
        "not a state that train.py wrote",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_state_is_told_and_the_one_before_serves(damage, two_states):
    run_dir, after = two_states
    change, reason = DAMAGES[damage]
    newest = run_dir / "state" / "newest.npz"
    newest.write_bytes(change(newest.read_bytes()))
    network = noisy_network()
    progress, warning = read_state(run_dir, network)
    assert progress == Progress(HISTORY, step=2)
    assert f"{newest} " in warning and reason in warning
    assert warning.endswith("goes on from the state before, after step 2 of epoch 2.")
    assert_same(after[2], values(network))
    # The next state does not push the only good one out.
    write_state(run_dir, network, Progress(HISTORY, step=3))
    newest.unlink()
    assert read_state(run_dir, network) == (Progress(HISTORY, step=2), None)


@pytest.mark.parametrize("damage", DAMAGES)
def test_two_damaged_states_are_an_error_that_changes_nothing(damage, two_states):
    run_dir, _ = two_states
    for path in (run_dir / "state").iterdir():
        path.write_bytes(DAMAGES[damage][0](path.read_bytes()))
    contents = [path.read_bytes() for path in sorted((run_dir / "state").iterdir())]
    network = noisy_network()
    before = values(network)
    with pytest.raises(InputError, match="newest.npz .*previous.npz .*No other state is left"):
        read_state(run_dir, network)
    assert_same(before, values(network)[: len(before)])
    assert [path.read_bytes() for path in sorted((run_dir / "state").iterdir())] == contents


def test_a_damaged_only_state_is_an_error(tmp_path):
    write_state(tmp_path, noisy_network(), Progress())
    (tmp_path / "state" / "newest.npz").write_bytes(b"")
    with pytest.raises(InputError, match=r"newest.npz is damaged.*--overwrite.*--weights"):
        read_state(tmp_path, noisy_network())


def test_the_state_of_another_network_is_refused(two_states):
    with pytest.raises(InputError, match="is the state of another network"):
        read_state(two_states[0], noisy_network(num_outputs=5))


def test_no_state_is_told(two_states):
    clear_state(two_states[0])
    with pytest.raises(FileNotFoundError, match="state holds no state to go on from"):
        read_state(two_states[0], noisy_network())


def test_a_state_that_cannot_be_written_leaves_the_ones_before(two_states, monkeypatch):
    run_dir, _ = two_states
    before = {path.name: path.read_bytes() for path in (run_dir / "state").iterdir()}

    def fail(file, *arrays, **named):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match=r"Cannot write .*newest.npz: No space left"):
        write_state(run_dir, noisy_network(), Progress())
    assert {path.name: path.read_bytes() for path in (run_dir / "state").iterdir()} == before


def written_steps(writer, run_dir, num_steps, clock, step_s):
    """Returns after which steps of some seconds each a state was written."""
    newest, steps = run_dir / "state" / "newest.npz", []
    for step in range(1, num_steps + 1):
        clock.now += step_s
        newest.unlink(missing_ok=True)
        writer.keep(Progress(step=step))
        if newest.exists():
            steps.append(step)
    return steps


def test_a_state_is_written_every_so_many_steps(tmp_path, clock):
    writer = StateWriter(tmp_path, noisy_network(), every=3)
    assert written_steps(writer, tmp_path, 10, clock, step_s=0.01) == [3, 6, 9]


@pytest.mark.parametrize(
    ("write_s", "expected"),
    [
        (0.1, [9, 18, 27]),  # At 63 s, then 60 s after 63.1 s; 1 % of the time would be each 10 s.
        (1.55, [9, 32]),  # At 63 s, then 155 s after 64.55 s: at 219.55 s or later.
    ],
)
def test_a_state_takes_1_percent_of_the_time_and_is_written_once_a_minute_at_most(
    tmp_path, clock, monkeypatch, write_s, expected
):
    writer = StateWriter(tmp_path, noisy_network())

    def write(*arguments):
        clock.now += write_s
        write_state(*arguments)

    monkeypatch.setattr(state, "write_state", write)
    assert written_steps(writer, tmp_path, 32, clock, step_s=7) == expected
    assert writer.lap() == pytest.approx(len(expected) * write_s)
    assert writer.lap() == 0


def test_an_interruption_writes_the_state_and_says_how_to_go_on(tmp_path):
    network = noisy_network()
    writer = StateWriter(tmp_path, network, 100, is_interrupted=lambda: True)
    message = "state after step 4 of epoch 2 is in .*state; go on with the same command and --resum"
    for end in (writer.keep, writer.end_if_interrupted):
        clear_state(tmp_path)
        with pytest.raises(KeyboardInterrupt, match=message):
            end(Progress(HISTORY, step=4))
        assert read_state(tmp_path, network)[0].step == 4


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(), "no step"),
        (Progress(HISTORY), "epoch 1"),
        (Progress(HISTORY, step=3), "step 3 of epoch 2"),
    ],
)
def test_a_place_in_the_run_is_told_in_words(progress, text):
    assert str(progress) == text


def test_other_hosts_take_over_the_variables_and_the_progress_of_the_first():
    network = noisy_network()
    text = json.dumps(vars(Progress(HISTORY, step=3)))
    assert spread(network, Progress(), SecondHost(text)) == Progress(HISTORY, step=3)
    assert [set(value.ravel()) for value in values(network)] == [
        {index} for index, _ in enumerate(values(network), 1)
    ]


def test_one_host_keeps_its_own():
    network, progress = noisy_network(), Progress(HISTORY)
    before = values(network)
    assert spread(network, progress, OneDevice()) is progress
    for value, expected in zip(values(network), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_host_that_does_not_write_ends_when_it_is_to_and_leaves_nothing(tmp_path):
    writer = StateWriter(tmp_path, noisy_network(), 1, is_interrupted=lambda: True, writes=False)
    with pytest.raises(KeyboardInterrupt):
        writer.keep(Progress(step=1))
    assert list(tmp_path.iterdir()) == []
