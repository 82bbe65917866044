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
# Renamings: the first state takes one, every later one two. Then the record; in every epoch a state
# per step and one at the end, best network (the loss falls), history, last network and curves.
NUM_WRITES = 2 + EPOCHS * (2 * (STEPS + 1) + 4)


class KilledError(BaseException):
    """Ends a run as a kill would."""


class SmallPatches(PatchReader):
    """Patches of 16 x 24 pixels of the files, which take a hundredth of the time."""

    def read(self, indices):
        images, classes = super().read(indices)
        return images[:, :16, :24], classes[:, :16, :24]


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    write_noise(folder, np.random.default_rng(0), num_patches=(5, 5))
    return folder


@pytest.fixture(scope="module")
def devices():
    return choose_devices()


def build_network(devices):
    config = parse(TrainConfig, NETWORK)
    keras.utils.set_random_seed(config.seed)
    network = train.build_compiled(config, STEPS, devices)
    network.optimizer.build(network.trainable_variables)
    return network


def values(network):
    variables = [*network.variables, *network.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


@pytest.fixture(scope="module")
def quick(devices):
    """Gives every run small patches, one network with its first values, and curves as text."""
    network = build_network(devices)
    variables, first_values = [*network.variables, *network.optimizer.variables], values(network)

    def restart(*_):
        for variable, value in zip(variables, first_values, strict=True):
            variable.assign(value)
        return network

    def save(path):
        with open(path, "wb") as file:  # Faster than by Keras, and as exact.
            np.savez(file, *values(network))

    def write_text(path, history):
        with replacing(path) as temporary:
            temporary.write_text(str(without_times(history)))

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr("brats.patches.reader.PatchReader", SmallPatches)
        patching.setattr("engine.devices.choose.choose_devices", lambda wanted: devices)
        patching.setattr(train, "build_compiled", restart)
        patching.setattr(runs, "write_learning_curves", write_text)
        patching.setattr(network, "save", save)
        yield network


@pytest.fixture(scope="module")
def kill_after(noise, quick):
    """Kills training after so many renamings, or not at all; returns how many there were."""
    rename = Path.replace

    def run(run_dir, num_writes=None):
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
                run_train(noise, run_dir, "--state-every", "1", *resume)
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
        if "config.json" not in archive.namelist():  # Not written by Keras: see `quick`.
            return {name: archive.read(name) for name in archive.namelist()}
    network = keras.saving.load_model(path)
    arrays = [*network.weights, *network.optimizer.variables]  # Without states of noise.
    return [keras.ops.convert_to_numpy(each).tobytes() for each in arrays]


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
    target = quick if method == "save" else devices
    original, made = getattr(target, method), []

    def send_signals_first(*arguments):
        made.append(arguments)
        for number in signals if len(made) == calls else ():
            os.kill(os.getpid(), number)
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(target, method, send_signals_first)
        assert exit_code(lambda: run_train(noise, run_dir), "Advice.") == 130
    message = f"The state after {place} is in {run_dir}/state" if place else "Advice."
    assert message in capsys.readouterr().err
    assert str(read_state(run_dir, quick)[0]) == (place or "no step")
    assert kill_after(run_dir)
    assert artifacts(run_dir, quick) == undisturbed


# The sixth state is that after the first step of the second epoch.
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
    assert str(read_state(run_dir, network)[0]) == "epoch 1"
    assert run(run_dir, "--resume") == run(whole) == 0
    assert artifacts(run_dir, network) == artifacts(whole, network)
