"""The TensorBoard log of a run: its charts, its pictures, and how it goes on."""

import dataclasses
import io
import sys

import keras
import matplotlib.image
import numpy as np
import pytest

pytest.importorskip("tensorboard", reason="needs requirements-tensorboard.txt")

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
    """Starts a log after some epochs, of 3 steps if not said otherwise."""

    def started(num_epochs=0, num_steps=STEPS, num_patches=4):
        progress = Progress([row_of(epoch) for epoch in range(1, num_epochs + 1)])
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


def add_epoch(log, epoch, num_steps=STEPS, progress=None):
    """Adds an epoch, or what is left of it."""
    progress = progress or Progress([{}] * (epoch - 1))
    for step in range(progress.step, num_steps):
        progress.step += 1
        log.add_step(progress, epoch + step / 16)
    log.add_epoch(row_of(epoch))


def read(folder, run):
    path = str(folder / "tensorboard" / run)
    return EventAccumulator(path, {"scalars": 0, "images": 0}).Reload()


def scalars(folder, run):
    """Returns `{tag: [(step, value), ...]}`."""
    log = read(folder, run)
    return {
        tag: [(each.step, each.value) for each in log.Scalars(tag)] for tag in log.Tags()["scalars"]
    }


def pictures(folder):
    return [
        (each.step, each.encoded_image_string)
        for each in read(folder, "validation").Images("patches")
    ]


def test_training_and_validation_share_the_tags_of_what_they_share(start, tmp_path):
    log = start()
    add_epoch(log, 1)
    expected = {name: [(1, value)] for name, value in row_of(1).items()}
    dice = {
        run: {f"soft_dice/{each}": expected[f"{run}dice_{each}"] for each in REGIONS}
        for run in ("", "val_")
    }
    assert scalars(tmp_path, "train") == dice[""] | {
        "loss/steps": [(1, 1.0), (2, 1.0625), (3, 1.125)],
        "loss/epochs": expected["loss"],
        "learning_rate": expected["learning_rate"],
        "seconds/waiting": expected["wait_s"],
        "seconds/steps": expected["step_s"],
    }
    assert scalars(tmp_path, "validation") == dice["val_"] | {
        "loss/epochs": expected["val_loss"],
        "seconds/validation": expected["validation_s"],
    }


def test_a_long_epoch_has_at_most_100_points_each_the_mean_of_its_steps(start, tmp_path):
    log = start(num_steps=203)
    add_epoch(log, 1, 203)
    add_epoch(log, 2, 203)
    found = scalars(tmp_path, "train")["loss/steps"]
    # 203 = 67 * 3 + 2: every epoch ends with a point of the two steps that are left.
    assert [step for step, _ in found] == [*range(3, 202, 3), 203, *range(206, 405, 3), 406]
    losses = np.append(1 + np.arange(203) / 16, 2 + np.arange(203) / 16)
    means = [losses[last - 3 : last].mean() for last, _ in found]
    means[67], means[135] = losses[201:203].mean(), losses[404:406].mean()
    np.testing.assert_allclose([value for _, value in found], means, rtol=1e-6)


def test_every_epoch_has_the_picture_of_what_the_network_says_then(start, network, tmp_path):
    head, patches, log = network.get_layer("head"), Patches(4), start()
    for epoch, index in ((1, 1), (2, 3)):
        head.set_weights([np.zeros(head.kernel.shape), 9 * np.eye(4)[index]])
        add_epoch(log, epoch)
    for (epoch, png), (expected, index) in zip(pictures(tmp_path), [(1, 1), (2, 3)], strict=True):
        predicted = np.full((4, 8, 12), index, dtype=np.uint8)
        picture = 255 * matplotlib.image.imread(io.BytesIO(png))[..., :3]
        assert epoch == expected
        np.testing.assert_array_equal(
            picture.round(), draw_patches(patches.images, patches.classes, predicted)
        )


def test_a_log_goes_on_after_the_last_finished_epoch_without_what_was_lost(start, tmp_path):
    whole = start()
    for epoch in (1, 2, 3):
        add_epoch(whole, epoch)
    expected = scalars(tmp_path, "train"), scalars(tmp_path, "validation"), pictures(tmp_path)
    clear(tmp_path)
    killed = start()
    add_epoch(killed, 1)
    add_epoch(killed, 2)  # In the log, but killed before the network was written.
    killed.add_step(Progress([{}] * 2, step=1), 9.0)
    resumed = start(num_epochs=1)
    for epoch in (2, 3):
        add_epoch(resumed, epoch)
    found = scalars(tmp_path, "train"), scalars(tmp_path, "validation"), pictures(tmp_path)
    assert found == expected


def test_a_log_goes_on_within_an_epoch_with_the_losses_that_had_no_point_yet(
    start, network, tmp_path
):
    add_epoch(start(num_steps=203), 1, 203)
    expected = scalars(tmp_path, "train")
    clear(tmp_path)
    killed, progress = start(num_steps=203), Progress()
    for step in range(50):  # Points at 3, 6, ... 48; two losses are left.
        progress.step += 1
        killed.add_step(progress, 1 + step / 16)
        if step == 39:
            state = dataclasses.replace(progress, log_losses=list(progress.log_losses))
    assert state.log_losses == [1 + 39 / 16]
    resumed = TrainingLog(tmp_path, state, 203, network.predict_on_batch, Patches(4))
    assert scalars(tmp_path, "train")["loss/steps"][-1][0] == 39  # Those beyond step 40 are gone.
    add_epoch(resumed, 1, 203, state)
    assert scalars(tmp_path, "train") == expected


def test_epochs_without_a_log_are_taken_from_the_history(start, tmp_path):
    add_epoch(start(num_epochs=2), 3)
    found = scalars(tmp_path, "train")
    assert found["loss/epochs"] == [(epoch, row_of(epoch)["loss"]) for epoch in (1, 2, 3)]
    assert [step for step, _ in found["loss/steps"]] == [7, 8, 9]
    assert [epoch for epoch, _ in scalars(tmp_path, "validation")["loss/epochs"]] == [1, 2, 3]
    assert [epoch for epoch, _ in pictures(tmp_path)] == [3]


def test_a_history_of_text_with_gaps_is_taken_up(network, tmp_path):
    history = [{name: str(value) for name, value in row_of(1).items()} | {"wait_s": ""}]
    TrainingLog(tmp_path, Progress(history), STEPS, network.predict_on_batch, Patches(1))
    found = scalars(tmp_path, "train")
    assert found["loss/epochs"] == [(1, row_of(1)["loss"])] and "seconds/waiting" not in found


def test_without_validation_patches_there_is_no_log_of_validation(start, tmp_path):
    log = start(num_patches=0)
    log.add_epoch({"epoch": 1, "loss": 0.5})
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["train"]
    assert scalars(tmp_path, "train") == {"loss/epochs": [(1, 0.5)]}


def test_a_cleared_run_has_no_log_and_other_files_are_left_alone(start, tmp_path):
    add_epoch(start(), 1)
    theirs = tmp_path / "tensorboard" / "train" / "events.out.tfevents.1.host"
    theirs.write_bytes(b"theirs")
    clear(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]


def test_a_missing_package_is_told_with_the_line_that_installs_it(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "engine.runs.event_file", raising=False)
    message = "needs the package tensorboard.*`pip install -r requirements-tensorboard.txt`"
    with pytest.raises(InputError, match=message):
        check_tensorboard()
