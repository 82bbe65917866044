"""The TensorBoard log of a run: losses of steps, rows of the history, pictures of patches.

In: a network in training and the patches to validate it on. Out: the runs `train` and `validation`
in the folder `tensorboard` of the run folder; the same tag in both, so that their curves share a
chart.
"""

from pathlib import Path

import numpy as np

from brats.errors import InputError
from brats.editions import REGIONS
from brats.pictures.patches import choose_patches, draw_patches
from engine.runs.folder import LOG

SHARED_TAGS = {"loss": "loss/epochs"} | {f"dice_{name}": f"soft_dice/{name}" for name in REGIONS}
# For each run, the columns of the history that it shows, and under which tag.
TAGS = {
    "train": SHARED_TAGS
    | {"learning_rate": "learning_rate", "wait_s": "seconds/waiting", "step_s": "seconds/steps"},
    "validation": {f"val_{column}": tag for column, tag in SHARED_TAGS.items()}
    | {"validation_s": "seconds/validation"},
}
STEPS, PATCHES = "loss/steps", "patches"
POINTS_PER_EPOCH = 100  # At most, of the losses of steps; each is the mean since the one before.


def check_tensorboard():
    """Checks that the package `tensorboard` is installed.

    Raises:
        InputError: If it is not; names the line that installs it.
    """
    try:
        import engine.runs.event_file  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f"--tensorboard needs the package {error.name}, which is not installed. Run "
            "`pip install -r requirements/tensorboard.txt`, or leave the flag out."
        ) from error


class TrainingLog:
    """Writes the log of a run, which goes on after the epochs that are finished.

    What lies beyond them and the steps done after them, from a run that was killed, is removed.
    Epochs that were not logged are taken from the history, without a picture.

    Args:
        run_dir: Run folder.
        progress: `engine.runs.state.Progress` of the run; its history holds numbers or text.
        num_steps: Steps in an epoch, int.
        predict: Function from images `(N, H, W, 4)` to the probabilities that the network in
            training gives now.
        validation: Reader of the validation patches; where there are none, nothing is drawn.

    Raises:
        OSError: If the folder cannot be written to.
    """

    def __init__(self, run_dir, progress, num_steps, predict, validation):
        from engine.runs.event_file import EventFile  # Needs an optional install.

        history = progress.history
        num_steps_done = num_steps * len(history) + progress.step

        def keeps(tag, step):
            return step <= (num_steps_done if tag == STEPS else len(history))

        self._files = {
            name: EventFile(Path(run_dir, LOG, name), _scalars(history, tags), keeps)
            for name, tags in TAGS.items()
            if name == "train" or len(validation)
        }
        self._num_steps = num_steps
        self._predict = predict
        self._patches = choose_patches(validation)

    def add_step(self, progress, loss):
        """Takes up the loss of the step that was just done, a float, into the progress."""
        progress.log_losses.append(loss)
        is_last = progress.step == self._num_steps
        if is_last or len(progress.log_losses) * POINTS_PER_EPOCH >= self._num_steps:
            step = self._num_steps * len(progress.history) + progress.step
            self._files["train"].add_scalars([(STEPS, step, np.mean(progress.log_losses))])
            progress.log_losses.clear()

    def add_epoch(self, row):
        """Adds a row of the history, and what the network now says of the patches.

        Nothing here draws a random number: training is the same without a log.
        """
        for name, file in self._files.items():
            file.add_scalars(_scalars([row], TAGS[name]))
        images, classes = self._patches
        if len(images):
            predicted = np.asarray(self._predict(images.astype(np.float32))).argmax(axis=-1)
            picture = draw_patches(images, classes, predicted)
            self._files["validation"].add_picture(PATCHES, row["epoch"], picture)


def _scalars(history, tags):
    """Returns `(tag, epoch, value)` of every column with a tag, where a row has a value."""
    return [
        (tag, int(row["epoch"]), float(row[column]))
        for row in history
        for column, tag in tags.items()
        if row.get(column) not in (None, "")
    ]
