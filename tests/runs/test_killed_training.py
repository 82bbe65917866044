"""Training that was killed and resumed ends with the files of a run that never was, bit for bit.

A simulated kill is an exception after a file got its final name. Between two renamings, a kill can
only leave what is on the disk then, and unfinished files under temporary names.
"""

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import train
from brats.files import read_table, replacing
from brats.flags import parse
from brats.patches.reader import PatchReader
from brats.script import exit_code
from config import TrainConfig
from engine.devices.choose import choose_devices
from engine.runs import folder as runs
from engine.runs.state import read_state
from tests.synthetic import write_noise

ROOT = Path(__file__).parents[2]
# Of two cases with 5 patches, one is to train on: 3 batches of 2, one patch again, in each epoch.
NETWORK = ["--base-filters", "2", "--depth", "1", "--batch-size", "2", "--epochs", "2"]
FLAGS = [*NETWORK, "--num-folds", "2", "--fold", "0"]
STEPS, EPOCHS = 3, 2
# The first state is one renaming, every later one two: the newest becomes the one before. Then the
# record; in every epoch a state per step and one at the end, best network (the loss falls),
# history, last network and curves.
NUM_WRITES = 2 + EPOCHS * (2 * (STEPS + 1) + 4)


class KilledError(BaseException):
    """What a process that is killed at this point does not live to see."""


class SmallPatches(PatchReader):
    """Patches of 16 x 24 pixels of the files, which take a hundredth of the time."""

    def read(self, indices):
        images, classes = super().read(indices)
        return images[:, :16, :24], classes[:, :16, :24]


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A folder of the patch files of two cases."""
    folder = tmp_path_factory.mktemp("noise")
    write_noise(folder, np.random.default_rng(0), num_patches=(5, 5))
    return folder


@pytest.fixture(scope="module")
def devices():
    """What all runs train on."""
    return choose_devices()


def build_network(devices):
    config = parse(TrainConfig, NETWORK)
    keras.utils.set_random_seed(config.seed)
    network = train.build_compiled(config, STEPS, devices)
    network.optimizer.build(network.trainable_variables)
    return network


def variables(network):
    return [*network.variables, *network.optimizer.variables]


def values(network):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables(network)]


@pytest.fixture(scope="module")
def quick(devices):
    """Gives every run small patches, one network with its first values, and curves as text."""
    network = build_network(devices)
    first_values = values(network)

    def restart(*_):
        for variable, value in zip(variables(network), first_values, strict=True):
            variable.assign(value)
        return network

    def save(path):
        with open(path, "wb") as file:  # Faster than by Keras, and as exact.
            np.savez(file, *values(network))

    def write_text(path, history):
        with replacing(path) as temporary:
            temporary.write_text(str(without_times(history)))

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(train, "PatchReader", SmallPatches)
        patching.setattr("engine.devices.choose.choose_devices", lambda wanted: devices)
        patching.setattr(train, "build_compiled", restart)
        patching.setattr(runs, "write_learning_curves", write_text)
        patching.setattr(network, "save", save)
        yield network


@pytest.fixture(scope="module")
def kill_after(noise, quick):
    """Kills training after so many renamings, or not at all; returns how many there were."""
    rename = Path.replace

    def run(run_dir, num_writes=None, *more):
        done = []

        def rename_or_die(path, target):
            rename(path, target)
            done.append(target)
            if len(done) == num_writes:
                raise KilledError

        resume = ["--resume"] if (run_dir / "config.json").exists() else []
        with pytest.MonkeyPatch.context() as patching:
            patching.setattr(Path, "replace", rename_or_die)
            try:
                run_train(noise, run_dir, "--state-every", "1", *resume, *more)
            except KilledError:
                return None
        return len(done)

    return run


def run_train(noise, run_dir, *more):
    train.main(["--patches", str(noise), "--run-dir", str(run_dir), *FLAGS, *more])


def without_times(rows):
    return [{name: row[name] for name in row if not name.endswith("_s")} for row in rows]


def artifacts(run_dir, network):
    """Returns everything that a run has left, as values to compare."""
    progress, warning = read_state(run_dir, network)
    assert warning is None
    return {
        "files": sorted(path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*")),
        "history": without_times(read_table(run_dir / "history.csv")),
        "state": [each.tobytes() for each in values(network)],
        "progress": (without_times(progress.history), progress.step, progress.log_losses),
        **{name: network_values(run_dir / f"{name}.keras") for name in ("best", "last")},
    }


def network_values(path):
    """Returns the bytes of the weights of a network file and of its optimizer's variables."""
    with zipfile.ZipFile(path) as archive:
        is_of_keras = "config.json" in archive.namelist()
    if is_of_keras:
        network = keras.saving.load_model(path)
        arrays = [*network.weights, *network.optimizer.variables]  # Without states of noise.
        return [keras.ops.convert_to_numpy(each).tobytes() for each in arrays]
    with np.load(path) as arrays:
        return [arrays[name].tobytes() for name in arrays.files]


@pytest.fixture(scope="module")
def undisturbed(quick, kill_after, tmp_path_factory):
    """What a run that was never killed leaves."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    assert kill_after(run_dir) == NUM_WRITES
    return artifacts(run_dir, quick)


# A state moved aside; the state at the end of the first epoch; steps of both epochs.
KILLS = [[3], [10], [6, 7]]
MORE_KILLS = [[number] for number in range(1, NUM_WRITES + 1)]
MORE_KILLS += [np.random.default_rng(seed).integers(1, 8, 100).tolist() for seed in range(3)]


@pytest.mark.parametrize(
    "kills", [*KILLS, *(pytest.param(each, marks=pytest.mark.nightly) for each in MORE_KILLS)]
)
def test_kills_after_any_writes_change_nothing(kills, quick, kill_after, undisturbed, tmp_path):
    run_dir = tmp_path / "killed"
    assert kill_after(run_dir, kills[0]) is None
    for num_writes in (*kills[1:], None):
        if kill_after(run_dir, num_writes):
            break
    assert artifacts(run_dir, quick) == undisturbed


def signalling(target, monkeypatch, name, calls, signals):
    """Makes a method send signals to this process before its n-th call."""
    method, made = getattr(target, name), []

    def call(*arguments, **named):
        made.append(name)
        if len(made) == calls:
            for number in signals:
                os.kill(os.getpid(), number)
        return method(*arguments, **named)

    monkeypatch.setattr(target, name, call)


@pytest.mark.parametrize(
    ("signals", "method", "calls", "place"),
    [
        ([signal.SIGINT], "train", 1, "step 1 of epoch 1"),
        ([signal.SIGTERM], "evaluate", 1, "step 3 of epoch 1"),
        ([signal.SIGTERM], "save", 2, "epoch 1"),
        ([signal.SIGTERM] * 2, "train", 2, None),  # The second signal ends it at once.
    ],
)
def test_a_signal_lets_the_step_end_writes_the_state_and_says_how_to_continue(
    signals, method, calls, place, noise, quick, devices, kill_after, undisturbed, tmp_path, capsys
):
    run_dir = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patching:
        target = quick if method == "save" else devices
        signalling(target, patching, method, calls, signals)
        assert exit_code(lambda: run_train(noise, run_dir), "Advice.") == 130
    message = f"The state after {place} is in {run_dir}/state" if place else "Advice."
    assert message in capsys.readouterr().err
    assert str(read_state(run_dir, quick)[0]) == (place or "no step")
    assert kill_after(run_dir)
    assert artifacts(run_dir, quick) == undisturbed


def test_the_log_of_a_killed_run_has_the_points_of_one_that_never_was(
    devices, kill_after, tmp_path, monkeypatch
):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    # A point is of two steps, or of one.
    monkeypatch.setattr("engine.runs.logs.POINTS_PER_EPOCH", 2)
    monkeypatch.setattr(devices, "build_predictor", lambda network: lambda images: images)

    def points(run_dir):
        found = {}
        for path in (run_dir / "tensorboard").iterdir():
            log = accumulator.EventAccumulator(str(path)).Reload()
            for tag in log.Tags()["scalars"]:
                steps = [(each.step, each.value) for each in log.Scalars(tag)]
                found[path.name, tag] = len(steps) if tag.startswith("seconds") else steps
            for tag in log.Tags()["images"]:
                found[path.name, tag] = [each.step for each in log.Images(tag)]
        return found

    kill_after(tmp_path / "whole", None, "--tensorboard")
    # Killed after the first step, which has no point yet, and after the second epoch's third.
    for num_writes in (4, 9, 6):
        kill_after(tmp_path / "killed", num_writes, "--tensorboard")
    kill_after(tmp_path / "killed", None, "--tensorboard")
    expected = points(tmp_path / "whole")
    assert [step for step, _ in expected["steps", "loss/steps"]] == [2, 3, 5, 6]
    assert expected["patches", "patches"] == [1, 2]
    assert points(tmp_path / "killed") == expected


KILLED_WHILE_WRITING = """
import os, signal, sys
import numpy as np
import train

savez, calls = np.savez, []

def write_half(file, *arrays, **named):
    savez(file, *arrays, **named)
    calls.append(file)
    if len(calls) == 6:
        file.truncate(1000)
        os.kill(os.getpid(), signal.SIGKILL)

np.savez = write_half
train.main(sys.argv[1:])
"""


@pytest.mark.nightly
def test_a_process_killed_while_it_writes_a_state_is_resumed_in_another(noise, devices, tmp_path):
    run_dir, whole, network = tmp_path / "killed", tmp_path / "whole", build_network(devices)

    def run(run_dir, *more, code="import sys, train; train.main(sys.argv[1:])"):
        command = [sys.executable, "-c", code, "--patches", noise, "--run-dir", run_dir, *FLAGS]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run([*command, *more], env=environment, timeout=200).returncode

    assert run(run_dir, "--state-every", "1", code=KILLED_WHILE_WRITING) == -signal.SIGKILL
    assert len(list((run_dir / "state").glob(".writing-*"))) == 1
    # The sixth state is that after the first step of the second epoch.
    assert str(read_state(run_dir, network)[0]) == "epoch 1"
    assert run(run_dir, "--resume") == run(whole) == 0
    assert artifacts(run_dir, network) == artifacts(whole, network)
