"""The state of a run: everything that training needs to continue as if it had never stopped.

In: a compiled network and the progress of its training. Out: `newest.npz` and `previous.npz` in the
folder `state` of the run folder, from which the same network and progress are read, bit for bit.
"""

import dataclasses
import hashlib
import io
import json
from pathlib import Path

import keras
import numpy as np

from brats.errors import InputError
from brats.files import replacing

STATE = "state"
NEWEST, PREVIOUS = "newest.npz", "previous.npz"
VERSION = 1
PROGRESS = "progress"  # The array that holds the progress and the version, as JSON in bytes.
DIGEST_SIZE = hashlib.sha256().digest_size


@dataclasses.dataclass
class Progress:
    """How far a run is: with the variables of the network, it decides how training continues.

    Attributes:
        history: List of one dict per finished epoch.
        step: Finished steps of the next epoch, int.
        sums: Sums over these steps of the variables of the metrics, list of floats.
        learning_rate: Learning rate of the first step of the epoch.
        wait_s: Seconds of these steps spent on waiting for batches.
        step_s: Seconds of these steps spent in them.
        row: Row of the history without validation, once the last step of the epoch is done.
        log_losses: Losses of steps that are not yet in the TensorBoard log.
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


def write_state(run_dir, model, progress):
    """Writes the state of a run, with all variables of its model, and keeps the one before it.

    A kill or a power cut at any moment leaves a complete state. A checksum detects later damage.
    """
    newest, previous = (Path(run_dir, STATE, name) for name in (NEWEST, PREVIOUS))
    arrays = [keras.ops.convert_to_numpy(variable) for variable in _variables(model)]
    text = json.dumps({"version": VERSION} | dataclasses.asdict(progress))
    with replacing(newest) as temporary:
        with open(temporary, "w+b") as file:
            np.savez(file, *arrays, **{PROGRESS: np.frombuffer(text.encode(), dtype=np.uint8)})
            file.seek(0)
            file.write(hashlib.file_digest(file, "sha256").digest())
        if newest.exists():
            newest.replace(previous)


def read_state(run_dir, model):
    """Reads the newest state of a run into a model, or the one before if that is damaged.

    Returns `(progress, warning)`: a `Progress`, and a sentence about a damaged state, or None.
    """
    folder = Path(run_dir, STATE)
    damages = []
    for path in (folder / NEWEST, folder / PREVIOUS):
        try:
            progress = _read(path, _variables(model))
        except FileNotFoundError:
            continue  # A kill between the two renamings leaves only the previous state.
        except InputError as error:
            damages.append(str(error))
            continue
        if not damages:
            return progress, None
        path.replace(folder / NEWEST)
        return progress, f"{damages[0]} The run continues from the state before, after {progress}."
    if damages:
        raise InputError(
            f"{' '.join(damages)} No other state is left. Start again with --overwrite, or another "
            "run with --weights from last.keras of this one."
        )
    raise FileNotFoundError(
        f"{folder} holds no state to continue from. Start again with --overwrite, or another run "
        "with --weights."
    )


def spread(model, progress, devices):
    """Gives every host the variables of host 0's network and optimizer; returns its progress.

    `devices` is what to train on, from `engine.devices.choose.choose_devices`.
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
    for name in (NEWEST, PREVIOUS):
        Path(run_dir, STATE, name).unlink(missing_ok=True)


def _read(path, variables):
    """Sets variables to those of a state, and returns its progress; changes none on an error."""
    content = path.read_bytes()
    data, digest = content[:-DIGEST_SIZE], content[-DIGEST_SIZE:]
    if hashlib.sha256(data).digest() != digest:
        raise InputError(f"{path} is damaged: its checksum is wrong.")
    with np.load(io.BytesIO(data)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    values = json.loads(arrays.pop(PROGRESS).tobytes())
    version = values.pop("version")
    if version != VERSION:
        raise InputError(
            f"{path} was written by another version of this program: its version is {version}, "
            f"expected {VERSION}."
        )
    if [array.shape for array in arrays.values()] != [tuple(each.shape) for each in variables]:
        raise InputError(f"{path} is the state of another network.")
    for variable, array in zip(variables, arrays.values(), strict=True):
        variable.assign(array)
    return Progress(**values)


def _variables(model):
    """Returns all variables of a network and of its optimizer, which is built if it was not."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]
