"""What a run leaves in its folder while it trains, on the host that writes and on another."""

import keras
import pytest

from engine.runs.state import Progress
from engine.runs.writer import RunWriter

ROW = {"epoch": 1, "loss": 0.5, "learning_rate": 0.1}


def compiled_network():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse", jit_compile=False)
    return network


def write_epoch(run_dir, writes):
    """Writes all of a run of one epoch of one step; returns the names of what it leaves."""
    writer = RunWriter(run_dir, compiled_network(), 1, lambda: False, writes)
    writer.begin({"settings": {}, "extraction": {}}, Progress(), resume=False)
    writer.end_step(Progress(step=1), 0.5)
    saving_s = writer.end_epoch(Progress([ROW | {"dice_whole": 0, "dice_core": 0}]))
    assert (saving_s > 0) == writes
    return sorted(str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file())


def test_the_host_that_writes_leaves_record_state_networks_history_and_curves(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "curves.png").write_text("of an earlier run")
    assert write_epoch(tmp_path, writes=True) == [
        "best.keras",
        "config.json",
        "curves.png",
        "history.csv",
        "last.keras",
        "state/newest.npz",
        "state/previous.npz",
    ]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_another_host_leaves_nothing_and_removes_nothing(tmp_path):
    (tmp_path / "curves.png").write_text("of an earlier run")
    assert write_epoch(tmp_path, writes=False) == ["curves.png"]


@pytest.mark.parametrize("writes", [True, False])
def test_both_end_when_the_run_is_to_end(tmp_path, writes):
    (tmp_path / "state").mkdir()
    writer = RunWriter(tmp_path, compiled_network(), None, lambda: True, writes)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        writer.end_if_interrupted(Progress(step=1))
    assert (tmp_path / "state" / "newest.npz").exists() == writes
