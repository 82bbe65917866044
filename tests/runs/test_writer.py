"""What a run leaves in its folder while it trains, on the host that writes and on another."""

import keras
import pytest

from engine.runs import writer as writer_module
from engine.runs.state import Progress, read_state, write_state
from engine.runs.writer import RunWriter

ROW = {"epoch": 1, "loss": 0.5, "learning_rate": 0.1, "dice_whole": 0, "dice_core": 0}
RECORD = {"settings": {}, "patches": {}, "split": {}}


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(writer_module, "time", clock)
    return clock


@pytest.fixture(scope="module")
def network():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse", jit_compile=False)
    return network


def build_writer(run_dir, network, every=None, is_interrupted=False, writes=True):
    return RunWriter(run_dir, network, every, lambda: is_interrupted, writes)


def files(run_dir):
    return sorted(str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file())


@pytest.mark.parametrize("writes", [True, False])
def test_only_the_host_that_writes_leaves_files(tmp_path, network, writes):
    (tmp_path / "curves.png").write_text("of an earlier run")
    writer = build_writer(tmp_path, network, every=1, writes=writes)
    writer.begin(RECORD, Progress(), resume=False)
    writer.end_step(Progress(step=1), 0.5)
    assert (writer.end_epoch(Progress([ROW])) > 0) == writes
    networks = ["best.keras", "config.json", "curves.png", "history.csv", "last.keras"]
    states = ["state/newest.npz", "state/previous.npz"]
    assert files(tmp_path) == ([*networks, *states] if writes else ["curves.png"])
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG") == writes


@pytest.mark.parametrize("writes", [True, False])
def test_every_host_ends_when_the_run_has_to_end(tmp_path, network, writes):
    writer = build_writer(tmp_path, network, every=100, is_interrupted=True, writes=writes)
    message = "state after step 4 of epoch 2 is in .*state.* same command with --resume"
    for end in (writer.end_if_interrupted, lambda progress: writer.end_step(progress, 0.5)):
        with pytest.raises(KeyboardInterrupt, match=message):
            end(Progress([ROW], step=4))
    assert files(tmp_path) == (["state/newest.npz", "state/previous.npz"] if writes else [])
    if writes:
        assert read_state(tmp_path, network)[0].step == 4


def written_steps(writer, run_dir, num_steps, clock, step_s):
    """Returns after which steps of some seconds each the writer wrote a state."""
    newest, steps = run_dir / "state" / "newest.npz", []
    for step in range(1, num_steps + 1):
        clock.now += step_s
        newest.unlink(missing_ok=True)
        writer.end_step(Progress(step=step), 0.5)
        if newest.exists():
            steps.append(step)
    return steps


def test_a_state_is_written_every_so_many_steps(tmp_path, network, clock):
    writer = build_writer(tmp_path, network, every=3)
    assert written_steps(writer, tmp_path, 10, clock, step_s=0.01) == [3, 6, 9]


@pytest.mark.parametrize(
    ("write_s", "expected"),
    [
        (0.1, [9, 18, 27]),  # At 63 s, then 60 s after 63.1 s; 1 % of the time would be each 10 s.
        (1.55, [9, 32]),  # At 63 s, then 155 s after 64.55 s: at 219.55 s or later.
    ],
)
def test_a_state_takes_1_percent_of_the_time_and_is_written_once_a_minute_at_most(
    tmp_path, network, clock, monkeypatch, write_s, expected
):
    def write(*arguments):
        clock.now += write_s
        write_state(*arguments)

    monkeypatch.setattr(writer_module, "write_state", write)
    writer = build_writer(tmp_path, network)
    assert written_steps(writer, tmp_path, 32, clock, step_s=7) == expected
