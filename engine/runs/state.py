"""The state of a run: all that training needs to go on as if it had never stopped.

In: a compiled network and the progress of its training. Out: `newest.npz` and `previous.npz` in the
folder `state` of the run folder, and from them the same network and progress again, bit for bit.
"""

import dataclasses
import hashlib
import io
import json
import math
import os
import time
import tokenize
from pathlib import Path

import keras
import numpy as np

from brats.errors import ZIP_ERRORS, InputError, shortened
from brats.files import parse_json, replacing

STATE = "state"
NEWEST, PREVIOUS = "newest.npz", "previous.npz"
VERSION = 1
PROGRESS = "progress"  # The array that holds the progress and the version, as JSON in bytes.
DIGEST_SIZE = hashlib.sha256().digest_size
MOST_SHARE = 0.01  # Of the time of training, spent on writing states.
LEAST_INTERVAL_S = 60


class EndedTogether(KeyboardInterrupt):
    """An interruption that all hosts have agreed on, between two batches."""


@dataclasses.dataclass
class Progress:
    """How far a run is: what, beside the variables of the network, decides how it goes on.

    Attributes:
        history: List of one dict per finished epoch.
        step: Steps done of the epoch after those, int.
        sums: Sums over these steps of the variables of the metrics, list of floats.
        learning_rate: Of the first step of the epoch.
        wait_s: Seconds of these steps spent on waiting for batches.
        step_s: Seconds of these steps spent in them.
        row: The epoch's row of the history once its last step is done, without validation.
        log_losses: Losses of steps that the TensorBoard log has still to average.
    """

    history: list = dataclasses.field(default_factory=list)
    step: int = 0
    sums: list = dataclasses.field(default_factory=list)
    learning_rate: float = 0.0
    wait_s: float = 0.0
    step_s: float = 0.0
    row: dict = dataclasses.field(default_factory=dict)
    log_losses: list = dataclasses.field(default_factory=list)

    def __str__(self):
        """Returns the place in the run, such as "step 7 of epoch 2"."""
        if self.step:
            return f"step {self.step} of epoch {len(self.history) + 1}"
        return f"epoch {len(self.history)}" if self.history else "no step"


class StateWriter:
    """Writes the state of a run when it is time to, and when the run is to end.

    Args:
        run_dir: Run folder.
        model: The compiled network in training.
        every: Steps between two states, int, or None for as often as takes 1 % of the time, at
            most once a minute.
        is_interrupted: Function without arguments that returns whether the run is to end, as of
            `brats.errors.deferring_interruption`.
        writes: Whether this is the host that writes.
    """

    def __init__(self, run_dir, model, every=None, is_interrupted=lambda: False, writes=True):
        self._elapsed_s = 0.0  # Spent on writing.
        self._run_dir, self._model, self._every = run_dir, model, every
        self._writes = writes
        self._is_interrupted = is_interrupted
        self._next_s = time.perf_counter() + LEAST_INTERVAL_S

    def keep(self, progress):
        """Writes the state if it is time to; to be called between two steps.

        Raises:
            EndedTogether: If the run is to end, once the state is written; says how to go on.
        """
        self.end_if_interrupted(progress)
        is_due = time.perf_counter() >= self._next_s
        if progress.step % self._every == 0 if self._every else is_due:
            self.write(progress)

    def end_if_interrupted(self, progress):
        """Writes the state if the run is to end, and ends it as `keep` does."""
        if self._is_interrupted():
            self.write(progress)
            raise EndedTogether(
                f"The state after {progress} is in {Path(self._run_dir, STATE)}; go on with the "
                "same command and --resume."
            )

    def write(self, progress):
        """Writes the state, see `write_state`, if this is the host that writes."""
        if not self._writes:
            return
        start = time.perf_counter()
        write_state(self._run_dir, self._model, progress)
        end = time.perf_counter()
        self._elapsed_s += end - start
        self._next_s = end + max(LEAST_INTERVAL_S, (end - start) / MOST_SHARE)

    def lap(self):
        """Returns the seconds spent on writing since the last call."""
        elapsed_s, self._elapsed_s = self._elapsed_s, 0.0
        return elapsed_s


def write_state(run_dir, model, progress):
    """Writes the state of a run beside the one before, which is kept.

    A kill at any moment leaves a whole state, and so does a power cut: the file is on the disk
    before it takes the place of the one before. Should it be damaged later, its checksum tells.

    Args:
        run_dir: Run folder.
        model: Compiled network. All its variables are written, those of its random layers, of the
            optimizer and of its loss scaling included.
        progress: A `Progress`.

    Raises:
        OSError: If the file cannot be written.
    """
    newest, previous = (Path(run_dir, STATE, name) for name in (NEWEST, PREVIOUS))
    arrays = [keras.ops.convert_to_numpy(variable) for variable in _variables(model)]
    text = json.dumps({"version": VERSION} | dataclasses.asdict(progress))
    with replacing(newest) as temporary:
        with open(temporary, "w+b") as file:
            np.savez(file, *arrays, **{PROGRESS: np.frombuffer(text.encode(), dtype=np.uint8)})
            file.seek(0)
            file.write(hashlib.file_digest(file, "sha256").digest())
            file.flush()
            os.fsync(file.fileno())
        if newest.exists():
            newest.replace(previous)


def read_state(run_dir, model):
    """Reads the newest state of a run that is whole.

    If that is the one before, it takes the place of the damaged one.

    Args:
        run_dir: Run folder.
        model: Compiled network of the same settings; takes over all variables.

    Returns:
        `(progress, warning)`: a `Progress`, and a sentence about a damaged state, or None.

    Raises:
        FileNotFoundError: If there is no state.
        InputError: If none can be read; says why.
        OSError: If the system refuses to read one.
    """
    folder = Path(run_dir, STATE)
    damages = []
    for path in (folder / NEWEST, folder / PREVIOUS):
        try:
            progress = _read(path, _variables(model))
        except FileNotFoundError:
            continue  # As after a kill between the two renamings.
        except InputError as error:
            damages.append(str(error))
            continue
        if not damages:
            return progress, None
        path.replace(folder / NEWEST)
        return progress, f"{damages[0]} The run goes on from the state before, after {progress}."
    if damages:
        raise InputError(
            f"{' '.join(damages)} No other state is left. Start again with --overwrite, or another "
            "run with --weights from last.keras of this one."
        )
    raise FileNotFoundError(
        f"{folder} holds no state to go on from. Start again with --overwrite, or another run with "
        "--weights."
    )


def spread(model, progress, devices):
    """Gives every host the variables of host 0's network and optimizer, and its progress.

    Args:
        model: Compiled network of the same settings on all hosts.
        progress: Host 0's `Progress`; the other hosts' is not used.
        devices: What to train on, from `engine.devices.one.choose_devices`.

    Returns:
        Host 0's `Progress`.
    """
    if devices.num_hosts == 1:
        return progress
    variables = _variables(model)
    arrays = devices.first_of([keras.ops.convert_to_numpy(variable) for variable in variables])
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return Progress(**json.loads(devices.first_text(json.dumps(dataclasses.asdict(progress)))))


def clear_state(run_dir):
    """Removes the states of an earlier run."""
    folder = Path(run_dir, STATE)
    for name in (NEWEST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def _read(path, variables):
    """Reads a state into variables, which stay as they are if it is damaged."""
    content = path.read_bytes()
    data, digest = content[:-DIGEST_SIZE], content[-DIGEST_SIZE:]
    if hashlib.sha256(data).digest() != digest:
        raise InputError(f"{path} is damaged: its checksum is wrong.")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            fits = _shapes(archive.zip) == [tuple(variable.shape) for variable in variables]
            values = parse_json(archive[PROGRESS].tobytes())
            arrays = [archive[name] for name in archive.files if fits and name != PROGRESS]
        version, progress = values.pop("version"), Progress(**values)
        _check_progress(progress)
    except (*ZIP_ERRORS, AttributeError, SyntaxError, tokenize.TokenError) as error:
        raise InputError(
            f"{path} is not a state that train.py wrote: {shortened(error)}."
        ) from error
    if version != VERSION:
        raise InputError(f"{path} has version {version}; expected {VERSION}.")
    if not fits:
        raise InputError(f"{path} is the state of another network.")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return progress


def _shapes(archive):
    """Returns the shapes of the arrays in a zip archive, read before memory is taken for them.

    Raises:
        ValueError: If an array does not hold numbers, or the progress is larger than its file.
    """
    shapes = []
    for name in archive.namelist():
        with archive.open(name) as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if name != f"{PROGRESS}.npy":
            shapes.append(shape)
        elif math.prod(shape) > archive.getinfo(name).file_size:
            raise ValueError(f"{name} is cut short")
        if dtype.kind not in "biufV":
            raise ValueError(f"{name} holds values of type {dtype}")
    return shapes


def _check_progress(progress):
    """Checks that the values of a `Progress` are of the types that it starts with.

    Raises:
        TypeError: If one is not; names it.
    """
    for name, value in dataclasses.asdict(progress).items():
        expected = type(getattr(Progress(), name))
        allowed = (int, float) if expected is float else (expected,)
        if type(value) not in allowed:
            raise TypeError(f"{name} is {type(value).__name__}, not {expected.__name__}")
    if not all(type(row) is dict for row in progress.history):
        raise TypeError("the history is damaged")
    losses = [row.get("val_loss", row.get("loss")) for row in progress.history]
    numbers = [*progress.sums, *progress.log_losses, *losses]
    if not all(type(number) in (int, float) for number in numbers):
        raise TypeError("a loss or a sum is not a number")


def _variables(model):
    """Returns all variables of a network and of its optimizer, which is built where it was not."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]
