"""The TensorBoard log of a run: its charts, its pictures, and how a resumed run continues it."""

import io
import sys

import keras
import matplotlib.image
import numpy as np
import pytest

pytest.importorskip("tensorboardX", reason="needs requirements/tensorboard.txt")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from brats.editions import REGIONS
from brats.errors import InputError
from brats.pictures.patches import draw_patches
from engine.runs.folder import clear
from engine.runs.logs import TrainingLog, check_tensorboard
from engine.runs.state import Progress
from model import build_resunet

STEPS = 3


class Patches:
    """Patches of 8 x 12 pixels, the first half of each patch tumor."""

    def __init__(self, num_patches):
        rng = np.random.default_rng(0)
        self.images = rng.normal(size=(num_patches, 8, 12, 4)).astype(np.float16)
        self.classes = np.zeros((num_patches, 8, 12), dtype=np.uint8)
        self.classes[:, :4] = 2

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        indices = np.array(indices, dtype=int)
        return self.images[indices], self.classes[indices]


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return build_resunet((None, None, 4), base_filters=2, depth=1)


@pytest.fixture
def start(tmp_path, network):
    """Starts a log, by default of epochs of 3 steps."""

    def started(progress, num_steps=STEPS, num_patches=4):
        return TrainingLog(
            tmp_path, progress, num_steps, network.predict_on_batch, Patches(num_patches)
        )

    return started


def row_of(epoch):
    """A row of the history in which every number is another."""
    names = ["loss", *(f"dice_{region}" for region in REGIONS), "learning_rate", "iterations"]
    names += ["wait_s", "step_s", "val_loss", *(f"val_dice_{region}" for region in REGIONS)]
    return {"epoch": epoch} | {
        name: epoch + place / 16 for place, name in enumerate([*names, "validation_s"])
    }


def after(num_epochs, **progress):
    return Progress([row_of(epoch) for epoch in range(1, num_epochs + 1)], **progress)


def add_epoch(log, progress, num_steps=STEPS):
    """Adds the next epoch, or the rest of it."""
    epoch = len(progress.history) + 1
    for step in range(progress.step, num_steps):
        progress.step += 1
        log.add_step(progress, epoch + step / 16)
    log.add_epoch(row_of(epoch))


def read(folder):
    """Returns what TensorBoard reads: scalars `{run: {tag: [(step, value), ...]}}` and pictures."""
    scalars, pictures = {}, []
    for path in sorted((folder / "tensorboard").iterdir()):
        log = EventAccumulator(str(path), {"scalars": 0, "images": 0}).Reload()
        scalars[path.name] = {
            tag: [(each.step, each.value) for each in log.Scalars(tag)]
            for tag in log.Tags()["scalars"]
        }
        for tag in log.Tags()["images"]:
            pictures += [(each.step, each.encoded_image_string) for each in log.Images(tag)]
    return scalars, pictures


def test_training_and_validation_share_the_tags_of_what_they_share(start, tmp_path):
    add_epoch(start(after(0)), after(0))
    expected = {name: [(1, value)] for name, value in row_of(1).items()}
    dice = {
        run: {f"soft_dice/{each}": expected[f"{run}dice_{each}"] for each in REGIONS}
        for run in ("", "val_")
    }
    train = {"loss/epochs": expected["loss"], "learning_rate": expected["learning_rate"]} | dice[""]
    train |= {"seconds/waiting": expected["wait_s"], "seconds/steps": expected["step_s"]}
    validation = {"loss/epochs": expected["val_loss"]} | dice["val_"]
    validation |= {"seconds/validation": expected["validation_s"]}
    assert read(tmp_path)[0] == {
        "patches": {},
        "steps": {"loss/steps": [(1, 1.0), (2, 1.0625), (3, 1.125)]},
        "train": train,
        "validation": validation,
    }


def test_a_long_epoch_has_at_most_100_points_each_the_mean_of_its_steps(start, tmp_path):
    progress = after(0, step=1)
    start(progress, num_steps=203).add_step(progress, 1.0)  # It has no point yet.
    log = start(progress, num_steps=203)  # Resumed.
    add_epoch(log, progress, 203)
    add_epoch(log, after(1), 203)
    found = read(tmp_path)[0]["steps"]["loss/steps"]
    # 203 = 67 * 3 + 2: every epoch ends with a point of the two steps that are left.
    assert [step for step, _ in found] == [*range(3, 202, 3), 203, *range(206, 405, 3), 406]
    losses = np.append(1 + np.arange(203) / 16, 2 + np.arange(203) / 16)
    means = [losses[last - 3 : last].mean() for last, _ in found]
    means[67], means[135] = losses[201:203].mean(), losses[404:406].mean()
    np.testing.assert_allclose([value for _, value in found], means, rtol=1e-6)


def test_every_epoch_has_a_picture_of_what_the_network_predicts_then(start, network, tmp_path):
    head, patches, log = network.get_layer("head"), Patches(4), start(after(0))
    for epoch, index in ((1, 1), (2, 3)):
        head.set_weights([np.zeros(head.kernel.shape), 9 * np.eye(4)[index]])
        add_epoch(log, after(epoch - 1))
    pictures = read(tmp_path)[1]
    for (epoch, png), (expected, index) in zip(pictures, [(1, 1), (2, 3)], strict=True):
        predicted = np.full((4, 8, 12), index, dtype=np.uint8)
        picture = 255 * matplotlib.image.imread(io.BytesIO(png))[..., :3]
        assert epoch == expected
        np.testing.assert_array_equal(
            picture.round(), draw_patches(patches.images, patches.classes, predicted)
        )


def test_what_a_killed_run_logged_after_its_state_is_hidden(start, tmp_path):
    log = start(after(0))
    for epoch in (0, 1, 2):
        add_epoch(log, after(epoch))
    expected = read(tmp_path)
    clear(tmp_path)
    killed = start(after(0))
    add_epoch(killed, after(0))
    add_epoch(killed, after(1))  # In the log, but killed before its state was written.
    killed.add_step(after(2, step=1), 9.0)
    resumed = start(after(1))
    found, pictures = read(tmp_path)  # Also before the resumed run has reached that place.
    assert [step for step, _ in found["steps"]["loss/steps"]] == [1, 2, 3]
    assert [step for step, _ in found["train"]["loss/epochs"]] == [1]
    assert [step for step, _ in pictures] == [1]
    add_epoch(resumed, after(1))
    add_epoch(resumed, after(2))
    assert read(tmp_path) == expected


def test_epochs_without_a_log_are_taken_from_the_history(start, tmp_path):
    add_epoch(start(after(2)), after(2))
    found, pictures = read(tmp_path)
    losses = [(epoch, row_of(epoch)["loss"]) for epoch in (1, 2, 3)]
    assert found["train"]["loss/epochs"] == losses
    assert [epoch for epoch, _ in found["validation"]["loss/epochs"]] == [1, 2, 3]
    assert [step for step, _ in found["steps"]["loss/steps"]] == [7, 8, 9]
    assert [epoch for epoch, _ in pictures] == [3]


def test_without_validation_patches_there_is_no_log_of_validation(start, tmp_path):
    start(after(0), num_patches=0).add_epoch({"epoch": 1, "loss": 0.5})
    scalars = {"patches": {}, "steps": {}, "train": {"loss/epochs": [(1, 0.5)]}}
    assert read(tmp_path) == (scalars, [])


def test_a_cleared_run_has_no_log_and_other_files_are_left_alone(start, tmp_path):
    add_epoch(start(after(0)), after(0))
    theirs = tmp_path / "tensorboard" / "train" / "events.out.tfevents.1.host"
    theirs.write_bytes(b"theirs")
    clear(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]


def test_a_missing_package_is_an_error_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"tensorboardX.*pip install -r requirements/tensorboard"):
        check_tensorboard()


def test_a_full_disk_is_an_error_that_names_the_folder(start, tmp_path, monkeypatch):
    log = start(after(0))

    def refuse(self):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patching:
        patching.setattr("tensorboardX.event_file_writer.EventsWriter.flush", refuse)
        with pytest.raises(OSError, match="Cannot write to .*tensorboard/steps: No space left"):
            log.add_step(after(0, step=STEPS), 0.5)
