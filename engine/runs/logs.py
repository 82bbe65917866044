"""The TensorBoard log of a run: losses of steps, rows of the history, pictures of patches.

In: the network in training and the validation patches. Out: event files in the folder `tensorboard`
of the run folder. Each subfolder is a run in TensorBoard: `train` and `validation` by epoch, with
the same tags, so that their curves share a chart; `steps` by step; `patches` by epoch.
"""

import contextlib
import time
import weakref
from pathlib import Path

import numpy as np

from brats.editions import REGIONS
from brats.errors import InputError
from brats.pictures.patches import choose_patches, draw_patches
from engine.runs.folder import EVENT_FILES, LOG

SHARED_TAGS = {"loss": "loss/epochs"} | {f"dice_{name}": f"soft_dice/{name}" for name in REGIONS}
# The columns of the history that `train` and `validation` show, and their tags.
TAGS = {
    "train": SHARED_TAGS
    | {"learning_rate": "learning_rate", "wait_s": "seconds/waiting", "step_s": "seconds/steps"},
    "validation": {f"val_{column}": tag for column, tag in SHARED_TAGS.items()}
    | {"validation_s": "seconds/validation"},
}
STEPS, PATCHES = "loss/steps", "patches"
POINTS_PER_EPOCH = 100  # At most. A point is the mean loss of the steps since the point before.


def check_tensorboard():
    """Checks that the package `tensorboardX` is installed.

    Raises:
        InputError: If it is not; names the command that installs it.
    """
    try:
        import tensorboardX  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f"--tensorboard needs the package {error.name}, which is not installed. Run "
            "`pip install -r requirements/tensorboard.txt`, or leave the flag out."
        ) from error


class TrainingLog:
    """Writes the log of a run.

    A resumed run continues its log. TensorBoard hides what a killed run logged after the state that
    the run resumes from, at the latest when the run gets there again. Nothing here draws a random
    number: training is the same without a log. `predict` maps images to the probabilities of the
    network in training.
    """

    def __init__(self, run_dir, progress, num_steps, predict, validation):
        folder, num_epochs = Path(run_dir, LOG), len(progress.history)
        self._steps = _EventFile(folder / "steps", num_steps * num_epochs + progress.step + 1)
        self._patches = _EventFile(folder / "patches", num_epochs + 1)
        names = [name for name in TAGS if name == "train" or len(validation)]
        # The history is logged again, as epochs may have been trained without a log.
        self._epochs = {name: _EventFile(folder / name, first_step=0) for name in names}
        for row in progress.history:
            self._add_row(row)
        self._num_steps, self._predict = num_steps, predict
        self._images, self._classes = choose_patches(validation)

    def add_step(self, progress, loss):
        """Adds the loss of the step that was just done, a float."""
        progress.log_losses.append(loss)
        is_last = progress.step == self._num_steps
        if is_last or len(progress.log_losses) * POINTS_PER_EPOCH >= self._num_steps:
            step = self._num_steps * len(progress.history) + progress.step
            self._steps.add_scalars(step, {STEPS: np.mean(progress.log_losses)})
            progress.log_losses.clear()

    def add_epoch(self, row):
        """Adds a row of the history, and a picture of what the network predicts now."""
        self._add_row(row)
        if len(self._images):
            probabilities = self._predict(self._images.astype(np.float32))
            predicted = np.asarray(probabilities).argmax(axis=-1)
            picture = draw_patches(self._images, self._classes, predicted)
            self._patches.add_picture(row["epoch"], PATCHES, picture)

    def _add_row(self, row):
        for name, file in self._epochs.items():
            values = {tag: row[column] for column, tag in TAGS[name].items() if column in row}
            file.add_scalars(row["epoch"], values)


class _EventFile:
    """One event file of a folder. What was added is on the disk, also if the process is killed.

    With `SummaryWriter`, whose `flush` does not wait for its thread, points would be lost.
    """

    def __init__(self, folder, first_step):
        """Starts the file, which hides what earlier files hold from step `first_step` on."""
        from tensorboardX import event_file_writer, proto, summary  # An optional install.

        self._folder, self._event_pb2, self._summary = folder, proto.event_pb2, summary
        folder.mkdir(parents=True, exist_ok=True)
        # The number tells files apart that are started within one second.
        suffix = f".{len(list(folder.glob(EVENT_FILES))):04d}{Path(EVENT_FILES).suffix}"
        self._writer = event_file_writer.EventsWriter(str(folder / "events"), suffix)
        weakref.finalize(self, _close, self._writer)
        session_log = self._event_pb2.SessionLog
        # `SummaryWriter` writes the same for its `purge_step`.
        self._add(first_step, session_log=session_log(status=session_log.START))

    def add_scalars(self, step, values):
        """Adds a dict of values by tag."""
        scalars = [self._summary.scalar(tag, value).value[0] for tag, value in values.items()]
        self._add(step, summary=self._summary.Summary(value=scalars))

    def add_picture(self, step, tag, picture):
        """Adds a picture, red, green and blue as uint8 `(H, W, 3)`."""
        self._add(step, summary=self._summary.image(tag, picture, dataformats="HWC"))

    def _add(self, step, **content):
        event = self._event_pb2.Event(wall_time=time.time(), step=step, **content)
        try:
            self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            raise OSError(f"Cannot write to {self._folder}: {error.strerror}.") from error


def _close(writer):
    with contextlib.suppress(OSError):  # The full disk was reported already.
        writer.close()
