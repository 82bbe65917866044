"""Extraction and prediction, killed at random moments and run again, end with the same files.

Training has tests of its own, in tests/runs.
"""

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brats.phantom.cohort import write_cohort
from tests.synthetic import contents, write_constant_network

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[1]
NUM_KILLS = {"extraction": 18, "prediction": 12}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
INTERRUPTED = 130  # Exit code of the scripts.
COMMANDS = {
    "extraction": ("extract_patches.py", "--patches-per-case", "60"),
    "prediction": ("predict.py", "--weights", "network.keras", "--probabilities"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with cases and a network, to run the scripts in."""
    folder = tmp_path_factory.mktemp("kills")
    write_cohort(folder / "cases", num_cases=5, seed=0, shape=(20, 160, 144), naming="2021")
    write_constant_network(folder / "network.keras", [0.1, 0.3, 0.1, 0.5])
    return folder


def start(folder, command, output="out"):
    script, *arguments = command
    return subprocess.Popen(
        [sys.executable, ROOT / script, "--data-root", "cases", "--output", output, *arguments],
        cwd=folder,
        env=os.environ | {"GIT_DIR": os.devnull},  # Without a commit, which may change meanwhile.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # So that the whole group can be killed.
        close_fds=False,  # JAX warns of a fork otherwise.
    )


def finish(process):
    """Waits for a process to end; returns whether a signal ended it."""
    errors = process.communicate(timeout=300)[1]
    assert process.returncode in (0, INTERRUPTED, -signal.SIGKILL), errors
    # Python cannot raise an interruption in a callback of its garbage collector, and says so.
    assert "Traceback" not in errors or "Exception ignored in" in errors, errors
    return process.returncode != 0


def wait_for_first_write(process, output):
    """Waits until a process writes to a folder, or ends."""
    before = times_of_files(output)
    while process.poll() is None and times_of_files(output) == before:
        time.sleep(0.002)


def times_of_files(folder):
    """Returns when each file was written; files that vanish meanwhile are left out."""
    times = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            times[path] = path.stat().st_mtime_ns
    return times


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_random_moments_and_run_again_it_ends_with_the_same_files(name, place, capsys):
    command, clock, output = COMMANDS[name], random.Random(0), place / "out"
    with start(place, command) as process:
        wait_for_first_write(process, output)
        begin = time.monotonic()
        assert not finish(process)
    work_s, expected = time.monotonic() - begin, contents(output)
    shutil.rmtree(output)
    kills, ends, signals = 0, 0, itertools.cycle(SIGNALS)
    while kills < NUM_KILLS[name] or output.exists():
        with start(place, command) as process:
            wait_for_first_write(process, output)
            if kills < NUM_KILLS[name]:
                time.sleep(clock.uniform(0, 0.8 * work_s))
                with contextlib.suppress(ProcessLookupError):  # It may have ended.
                    os.killpg(process.pid, next(signals))
            if finish(process):
                kills += 1
                continue
        assert contents(output) == expected
        shutil.rmtree(output)
        ends += 1
    with capsys.disabled():
        print(f"\n{name}: {kills} kills in {work_s:.1f} s of work, {ends} complete runs")


@pytest.mark.parametrize("name", COMMANDS)
def test_two_commands_at_the_same_time_into_one_folder_both_succeed(name, place):
    with start(place, COMMANDS[name], "alone") as process:
        assert not finish(process)
    with (
        start(place, COMMANDS[name], "both") as first,
        start(place, COMMANDS[name], "both") as second,
    ):
        assert not finish(first) and not finish(second)
    assert contents(place / "both") == contents(place / "alone")
