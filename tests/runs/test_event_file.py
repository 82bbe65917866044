"""Event files: what TensorBoard reads out of them, and how they go on."""

import io
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

pytest.importorskip("tensorboard", reason="needs requirements-tensorboard.txt")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine import event_file
from engine.runs.event_file import EventFile


def read(folder):
    """Returns TensorBoard's view of a folder, every point kept."""
    return EventAccumulator(str(folder), {"scalars": 0, "images": 0}).Reload()


def points(folder, tag):
    return [(point.step, point.value) for point in read(folder).Scalars(tag)]


def start(folder, scalars=(), last_step=0):
    return EventFile(folder, list(scalars), lambda tag, step: step <= last_step)


@pytest.fixture
def clock(monkeypatch):
    """Sets the time, in seconds."""

    def put(seconds):
        monkeypatch.setattr(event_file.time, "time", lambda: seconds)

    return put


def test_scalars_come_back_with_tag_step_and_value(tmp_path):
    file = start(tmp_path / "new" / "train", [("loss", 1, 0.5), ("rate", 1, 0.25)])
    file.add_scalars([("loss", 2, 0.125), ("rate", 2, 0.0)])
    assert points(tmp_path / "new" / "train", "loss") == [(1, 0.5), (2, 0.125)]
    assert points(tmp_path / "new" / "train", "rate") == [(1, 0.25), (2, 0.0)]


def test_a_picture_comes_back_pixel_by_pixel(tmp_path, rng):
    picture = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    start(tmp_path).add_picture("patches", 3, picture)
    (image,) = read(tmp_path).Images("patches")
    assert (image.step, image.height, image.width) == (3, 5, 7)
    decoded = matplotlib.image.imread(io.BytesIO(image.encoded_image_string))[..., :3]
    np.testing.assert_array_equal((255 * decoded).round(), picture)


def test_a_file_goes_on_without_what_is_no_longer_true(tmp_path, clock):
    clock(1000)
    file = start(tmp_path)
    file.add_scalars([("loss", step, step / 2) for step in (1, 2, 3)])
    for step in (2, 3):
        file.add_picture("patches", step, np.zeros((2, 2, 3), dtype=np.uint8))
    clock(2000)
    start(tmp_path, last_step=2).add_scalars([("loss", 3, 0.25)])
    assert points(tmp_path, "loss") == [(1, 0.5), (2, 1.0), (3, 0.25)]
    assert [image.step for image in read(tmp_path).Images("patches")] == [2]
    # What is kept has the time at which it was written.
    assert [point.wall_time for point in read(tmp_path).Scalars("loss")] == [1000, 1000, 2000]
    assert [path.name for path in tmp_path.iterdir()] == ["events.out.tfevents.2000.brats"]


def test_a_file_started_again_within_a_second_is_kept(tmp_path, clock):
    clock(1000)
    start(tmp_path).add_scalars([("loss", 1, 0.5)])
    start(tmp_path, last_step=1)
    assert points(tmp_path, "loss") == [(1, 0.5)]


def test_points_that_were_not_written_are_added_and_the_others_kept_once(tmp_path, clock):
    clock(1000)
    start(tmp_path).add_scalars([("loss", 2, 1.0)])
    clock(2000)
    start(tmp_path, [("loss", 1, 0.5), ("loss", 2, 1.0), ("loss", 3, 1.5)], last_step=3)
    assert points(tmp_path, "loss") == [(1, 0.5), (2, 1.0), (3, 1.5)]


def test_files_of_a_start_that_was_killed_are_taken_together(tmp_path, clock):
    clock(1000)
    start(tmp_path).add_scalars([("loss", 1, 0.5)])
    (old,) = tmp_path.iterdir()
    (tmp_path / "events.out.tfevents.2000.brats").write_bytes(old.read_bytes())
    clock(3000)
    start(tmp_path, last_step=1)
    assert points(tmp_path, "loss") == [(1, 0.5)]


def test_a_record_that_was_cut_short_is_left_out(tmp_path, clock):
    clock(1000)
    start(tmp_path).add_scalars([("loss", 1, 0.5), ("loss", 2, 1.0)])
    (old,) = tmp_path.iterdir()
    old.write_bytes(old.read_bytes()[:-3])
    clock(2000)
    start(tmp_path, last_step=2).add_scalars([("loss", 3, 1.5)])
    assert points(tmp_path, "loss") == [(1, 0.5), (3, 1.5)]


def test_files_of_other_programs_are_left_alone(tmp_path):
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"theirs")
    start(tmp_path)
    assert (tmp_path / "events.out.tfevents.1.host").read_bytes() == b"theirs"


def test_on_another_backend_tensorflow_is_not_imported(tmp_path):
    check = (
        "import pathlib, sys; from engine.runs.event_file import EventFile; "
        f"EventFile(pathlib.Path({str(tmp_path)!r}), [('loss', 1, 0.5)], bool); "
        f"EventFile(pathlib.Path({str(tmp_path)!r}), [], lambda tag, step: True); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    root = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", check], env=environment, check=True, timeout=100)
    assert points(tmp_path, "loss") == [(1, 0.5)]
