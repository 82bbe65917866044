"""Training that was killed and goes on ends with the files of a run that never was, bit for bit.

A simulated kill is an exception after a write: every file that training leaves is renamed into its
place, so that all that a kill can leave on the disk is what lies there between two renamings, and
files cut short under temporary names.
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
from synthetic import write_noise

import train
from brats import patch_reader
from brats.errors import InputError
from brats.files import read_table, replacing
from brats.flags import parse
from brats.patches.reader import PatchReader
from brats.script import exit_code
from config import TrainConfig
from engine.devices.choose import choose_devices
from engine.runs import folder as runs
from engine.runs.state import read_state

ROOT = Path(__file__).parents[1]
# 5 patches are 3 batches of 2 with one patch again: 3 steps in each of 2 epochs.
NETWORK = ["--base-filters", "2", "--depth", "1", "--batch-size", "2", "--epochs", "2"]
STEPS, EPOCHS = 3, 2
# The first state is one renaming, every later one two: the newest becomes the one before. Then the
# record; in every epoch a state per step and one at the end, best network (the loss falls),
# history, last network and curves.
NUM_WRITES = 2 + EPOCHS * (2 * (STEPS + 1) + 4)


class KilledError(BaseException):
    """What a process that is killed at this point does not live to see."""


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "patches.h5"
    write_noise(path, np.random.default_rng(0))
    return path


@pytest.fixture(scope="module")
def devices():
    """What all runs train on."""
    return choose_devices()


@pytest.fixture(scope="module")
def compiled(devices):
    """A compiled network and the first values of all its variables."""
    config = parse(TrainConfig, NETWORK)
    keras.utils.set_random_seed(config.seed)
    network = train.build_compiled(config, STEPS, devices)
    network.optimizer.build(network.trainable_variables)
    # What follows from the network is written faster than by Keras, and as exactly.
    network.save = lambda path: write_values(path, network)
    return network, values(network)


def write_values(path, network):
    with open(path, "wb") as file:
        np.savez(file, *values(network))


def values(network):
    variables = [*network.variables, *network.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


class SmallPatches(PatchReader):
    """Patches of 16 x 24 pixels of the file, which take a hundredth of the time."""

    def read(self, indices):
        images, classes = super().read(indices)
        return images[:, :16, :24], classes[:, :16, :24]


@pytest.fixture
def quick(compiled, devices, monkeypatch):
    """Gives every run small patches, one network with its first values, and curves as text."""
    network, first_values = compiled

    def restart(*_):
        for variable, value in zip(
            [*network.variables, *network.optimizer.variables], first_values, strict=True
        ):
            variable.assign(value)
        return network

    def write_text(path, history):
        with replacing(path) as temporary:
            temporary.write_text(str(without_times(history)))

    monkeypatch.setattr(patch_reader, "PatchReader", SmallPatches)
    monkeypatch.setattr(train, "choose_devices", lambda wanted: devices)
    monkeypatch.setattr(train, "build_compiled", restart)
    monkeypatch.setattr(runs, "write_learning_curves", write_text)
    return network


@pytest.fixture
def kill_after(monkeypatch):
    """Kills training after so many renamings, or not at all; returns how many there were."""
    rename = Path.replace

    def run(patches, run_dir, num_writes=None, *more):
        done = []

        def rename_or_die(path, target):
            rename(path, target)
            done.append(target)
            if len(done) == num_writes:
                raise KilledError

        monkeypatch.setattr(Path, "replace", rename_or_die)
        resume = ["--resume"] if (run_dir / "config.json").exists() else []
        try:
            run_train(patches, run_dir, "--state-every", "1", *resume, *more)
        except KilledError:
            return None
        return len(done)

    return run


def run_train(patches, run_dir, *more):
    train.main(["--patches", str(patches), "--run-dir", str(run_dir), *NETWORK, *more])


def without_times(rows):
    return [{name: row[name] for name in row if not name.endswith("_s")} for row in rows]


def artifacts(run_dir, network):
    """Returns all that a run has left, as values to compare."""
    progress, warning = read_state(run_dir, network)
    assert warning is None
    files = sorted(path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*"))
    return {
        "files": files,
        "history": without_times(read_table(run_dir / "history.csv")),
        "curves": (run_dir / "curves.png").read_bytes(),
        "state": [each.tobytes() for each in values(network)],
        "progress": (without_times(progress.history), progress.step, progress.log_losses),
        **{name: network_values(run_dir / f"{name}.keras") for name in ("best", "last")},
    }


def network_values(path):
    """Returns the bytes of the weights of a network file and of its optimizer's variables."""
    with zipfile.ZipFile(path) as archive:
        is_whole = "config.json" in archive.namelist()
    if is_whole:
        network = keras.saving.load_model(path)
        variables = [*network.weights, *network.optimizer.variables]
        return [keras.ops.convert_to_numpy(variable).tobytes() for variable in variables]
    with np.load(path) as arrays:  # Written by `write_values`.
        return [arrays[name].tobytes() for name in arrays.files]


@pytest.fixture(scope="module")
def found():
    """Keeps what `undisturbed` has found for the next test."""
    return {}


@pytest.fixture
def undisturbed(patches, quick, kill_after, tmp_path, found):
    """What a run that was never killed leaves."""
    if not found:
        assert kill_after(patches, tmp_path / "whole") == NUM_WRITES
        found.update(artifacts(tmp_path / "whole", quick))
    return found


# The first state; the record; a state moved aside; a new one in its place; that of the end of the
# first epoch; best network, history and last network; the history of the last epoch.
KINDS_OF_WRITES = (1, 2, 3, 4, 10, 11, 12, 13, 24)


@pytest.mark.parametrize(
    "num_writes",
    [
        pytest.param(number, marks=() if number in KINDS_OF_WRITES else pytest.mark.slow)
        for number in range(1, NUM_WRITES + 1)
    ],
)
def test_a_kill_after_any_write_changes_nothing(
    num_writes, patches, quick, kill_after, undisturbed, tmp_path
):
    run_dir = tmp_path / "killed"
    assert kill_after(patches, run_dir, num_writes) is None
    assert kill_after(patches, run_dir)
    assert artifacts(run_dir, quick) == undisturbed


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_many_kills_change_nothing(seed, patches, quick, kill_after, undisturbed, tmp_path):
    rng, run_dir, num_kills = np.random.default_rng(seed), tmp_path / "killed", 0
    while kill_after(patches, run_dir, rng.integers(1, 8)) is None:
        num_kills += 1
        assert num_kills < 100
    assert num_kills > 2
    assert artifacts(run_dir, quick) == undisturbed


@pytest.mark.parametrize("num_writes", [6, 10])  # In an epoch, and after it.
def test_a_damaged_newest_state_costs_time_and_nothing_else(
    num_writes, patches, quick, kill_after, undisturbed, tmp_path, capsys
):
    run_dir = tmp_path / "killed"
    kill_after(patches, run_dir, num_writes)
    newest = run_dir / "state" / "newest.npz"
    newest.write_bytes(newest.read_bytes()[:-1] if newest.exists() else b"")
    assert kill_after(patches, run_dir)
    assert "Warning: " in capsys.readouterr().err
    assert artifacts(run_dir, quick) == undisturbed


def test_two_damaged_states_end_in_one_line(patches, quick, kill_after, tmp_path, capsys):
    kill_after(patches, tmp_path)
    for path in (tmp_path / "state").iterdir():
        path.write_bytes(b"")
    assert exit_code(lambda: run_train(patches, tmp_path, "--resume")) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and error.count("\n") == 1
    assert "newest.npz is damaged" in error and "previous.npz is damaged" in error


def signalling(target, monkeypatch, name, calls, signals):
    """Makes a method send signals to this process before it does its work."""
    method, made = getattr(target, name), []

    def call(*arguments, **named):
        made.append(name)
        if len(made) == calls:
            for number in signals:
                os.kill(os.getpid(), number)
        return method(*arguments, **named)

    monkeypatch.setattr(target, name, call)


@pytest.mark.parametrize(
    ("number", "method", "calls", "place"),
    [
        (signal.SIGINT, "train", 1, "step 1 of epoch 1"),
        (signal.SIGTERM, "train", 5, "step 2 of epoch 2"),
        (signal.SIGTERM, "train", 3, "step 3 of epoch 1"),
        (signal.SIGTERM, "evaluate", 1, "step 3 of epoch 1"),
        (signal.SIGTERM, "save", 2, "epoch 1"),
    ],
)
def test_a_signal_lets_the_step_end_writes_the_state_and_says_how_to_go_on(
    number, method, calls, place, patches, quick, devices, kill_after, undisturbed, tmp_path, capsys
):
    run_dir = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patching:
        target = quick if method == "save" else devices
        signalling(target, patching, method, calls, [number])
        assert exit_code(lambda: run_train(patches, run_dir)) == 130
    assert capsys.readouterr().err == (
        f"Interrupted. The state after {place} is in {run_dir}/state; go on with the same command "
        "and --resume.\n"
    )
    assert kill_after(patches, run_dir)
    assert artifacts(run_dir, quick) == undisturbed


def test_a_second_signal_ends_at_once_and_harms_no_state(
    patches, quick, devices, kill_after, undisturbed, tmp_path, capsys
):
    run_dir = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patching:
        signalling(devices, patching, "train", 2, [signal.SIGTERM, signal.SIGTERM])
        assert exit_code(lambda: run_train(patches, run_dir), "Advice.") == 130
    assert capsys.readouterr().err == "Interrupted. Advice.\n"
    assert read_state(run_dir, quick)[0].step == 0  # The first one: no step was to be written.
    assert kill_after(patches, run_dir)
    assert artifacts(run_dir, quick) == undisturbed


def test_a_run_that_another_process_has_made_meanwhile_is_kept(
    patches, quick, tmp_path, monkeypatch
):
    def build_late(*_):
        (tmp_path / "config.json").write_text("of another process")
        return quick

    monkeypatch.setattr(train, "build_compiled", build_late)
    with pytest.raises(InputError, match=f"{tmp_path} holds a run"):
        run_train(patches, tmp_path)
    assert (tmp_path / "config.json").read_text() == "of another process"


def test_what_a_killed_process_was_writing_is_removed(patches, quick, kill_after, tmp_path):
    assert kill_after(patches, tmp_path, 7) is None
    torn = [".writing-1-best.keras", ".writing-1-history.csv", "state/.writing-1-newest.npz"]
    for name in (*torn, ".partial-mine.h5"):
        (tmp_path / name).write_bytes(b"half")
    kill_after(patches, tmp_path)
    assert [name.name for name in tmp_path.rglob(".[pw]*-*")] == [".partial-mine.h5"]


def test_the_log_of_a_killed_run_has_the_points_of_one_that_never_was(
    patches, quick, kill_after, tmp_path, monkeypatch
):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setattr(
        "engine.runs.logs.POINTS_PER_EPOCH", 2
    )  # A point is of two steps, or of one.

    def points(run_dir):
        found = {}
        for split in ("train", "validation"):
            log = accumulator.EventAccumulator(str(run_dir / "tensorboard" / split)).Reload()
            tags = [tag for tag in log.Tags()["scalars"] if not tag.startswith("seconds")]
            found |= {
                (split, tag): [(each.step, each.value) for each in log.Scalars(tag)] for tag in tags
            }
        return found, [each.step for each in log.Images("patches")]

    kill_after(patches, tmp_path / "whole", None, "--tensorboard")
    # Killed after the first step, which has no point yet, and after the second epoch's third.
    for num_writes in (4, 9, 6):
        kill_after(patches, tmp_path / "killed", num_writes, "--tensorboard")
    kill_after(patches, tmp_path / "killed", None, "--tensorboard")
    expected, pictures = points(tmp_path / "whole")
    assert [step for step, _ in expected["train", "loss/steps"]] == [2, 3, 5, 6]
    assert points(tmp_path / "killed") == (expected, pictures) and pictures == [1, 2]


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


def start(patches, run_dir, *more, code="import sys, train; train.main(sys.argv[1:])"):
    command = [sys.executable, "-c", code, "--patches", patches, "--run-dir", run_dir]
    return subprocess.Popen(
        [*command, *NETWORK, "--state-every", "1", *more],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_process_killed_while_it_writes_a_state_goes_on_in_another(patches, tmp_path):
    run_dir = tmp_path / "killed"
    process = start(patches, run_dir, code=KILLED_WHILE_WRITING)
    assert process.wait(timeout=100) == -signal.SIGKILL
    assert len(list((run_dir / "state").glob(".writing-*"))) == 1
    # The sixth state is that after the first step of the second epoch.
    config = parse(TrainConfig, NETWORK)
    assert str(read_state(run_dir, train.build_compiled(config, STEPS))[0]) == "epoch 1"
    run_train(patches, run_dir, "--resume")
    run_train(patches, tmp_path / "whole")
    found, expected = (
        artifacts(folder, train.build_compiled(config, STEPS))
        for folder in (run_dir, tmp_path / "whole")
    )
    assert found == expected


TRAINED_TWICE = """
import sys
import train

*arguments, first, second = sys.argv[1:]
for run_dir in (first, second):
    train.main([*arguments, "--run-dir", run_dir, "--deterministic"])
"""


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch has no --deterministic")
def test_the_same_seed_gives_the_same_bytes_of_weights(patches, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    subprocess.run(
        [sys.executable, "-c", TRAINED_TWICE, "--patches", patches, *NETWORK, *folders],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        timeout=100,
        capture_output=True,
    )
    config = parse(TrainConfig, NETWORK)
    first, second = (artifacts(each, train.build_compiled(config, STEPS)) for each in folders)
    assert first == second
