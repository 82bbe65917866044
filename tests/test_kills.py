"""The three scripts, killed at random moments, end with the files that they would have left.

Each stage is run once undisturbed. Then it is started again and again and ended by a signal,
SIGKILL, SIGTERM or SIGINT in turn, at a moment drawn from the time that its work takes; whenever a
run comes to its end, its files are compared, and the next one begins in an empty folder.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from brats.files import read_table
from brats.phantom.cohort import write_cohort

ROOT = Path(__file__).parents[1]
PATCHES_PER_CASE = "60"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
INTERRUPTED = 130  # Exit code of the scripts.
NETWORK = ("--base-filters", "2", "--depth", "1", "--epochs", "2", "--steps-per-epoch", "8")


@dataclass(frozen=True)
class Stage:
    """A script, what it writes, and how to go on.

    Attributes:
        command: Script and arguments; it runs in a folder with `cases`, `patches.h5` and
            `network.keras`.
        output: File or folder that it writes, in that folder.
        resume: Function from the folder to the flags that go on where a killed run was.
    """

    command: tuple
    output: str
    resume: Callable = lambda folder: ()


def resume_extraction(folder):
    return ("--resume",)


def resume_training(folder):
    return ("--resume",) if (folder / "run" / "config.json").exists() else ()


STAGES = {
    "extraction": Stage(
        ("extract_patches.py", "--data-root", "cases", "--output", "new/patches.h5")
        + ("--patches-per-case", PATCHES_PER_CASE),
        "new",
        resume_extraction,
    ),
    "training": Stage(
        ("train.py", "--patches", "patches.h5", "--run-dir", "run", "--state-every", "1", *NETWORK),
        "run",
        resume_training,
    ),
    "prediction": Stage(
        ("predict.py", "--data-root", "cases", "--weights", "network.keras", "--output", "out")
        + ("--probabilities",),
        "out",
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with cases, patches and a network."""
    folder = tmp_path_factory.mktemp("kills")
    write_cohort(folder / "cases", num_cases=4, seed=0, shape=(12, 160, 144), naming="2021")
    for name, made, kept in (
        ("extraction", "new/patches.h5", "patches.h5"),
        ("training", "run/last.keras", "network.keras"),
    ):
        stage = STAGES[name]
        with start(folder, stage) as process:
            message = process.communicate()[1]
        assert process.returncode == 0, message.decode()
        shutil.copy(folder / made, folder / kept)
        shutil.rmtree(folder / stage.output)
    return folder


def start(folder, stage, *more):
    script, *arguments = stage.command
    return subprocess.Popen(
        [sys.executable, ROOT / script, *arguments, *more],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # So that the whole group can be killed.
        close_fds=False,  # JAX warns of a fork otherwise.
    )


def wait_for_first_write(process, output):
    """Waits until a process writes below a folder, or ends; returns when that was."""
    before = times_of_files(output)
    while process.poll() is None and times_of_files(output) == before:
        time.sleep(0.002)
    return time.monotonic()


def times_of_files(folder):
    """Returns when each file was written, those that vanish meanwhile left out."""
    times = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            times[path] = path.stat().st_mtime_ns
    return times


def finish(process):
    """Waits for a process to end; returns whether a signal ended it.

    Raises:
        AssertionError: If it ended in another way than by itself and well.
    """
    message = process.communicate(timeout=300)[1].decode()
    assert process.returncode in (0, INTERRUPTED, -signal.SIGKILL), message
    assert "Traceback" not in message
    return process.returncode != 0


def files(folder):
    """Returns what is in every file below a folder, without times, by path."""
    return {
        path.relative_to(folder).as_posix(): content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def content(path):
    """Returns what is in a file, without what differs between two undisturbed runs."""
    if path.name == "history.csv":
        rows = read_table(path)
        return [{name: row[name] for name in row if not name.endswith("_s")} for row in rows]
    if path.name == "config.json":
        record = json.loads(path.read_text())
        return {name: record[name] for name in record if name != "resumed"}
    if path.suffix == ".keras":
        return network(path)
    if path.suffix == ".npz":
        return state(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def network(path):
    """Returns the configuration and the weights in a network file, without the date of saving."""
    with zipfile.ZipFile(path) as archive:
        weights = {}
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
            file.visititems(
                lambda name, item: (
                    weights.update({name: item[()].tobytes()})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
        return archive.read("config.json"), weights


def state(path):
    """Returns the arrays of a state of training, without the seconds in its progress."""
    with np.load(path) as arrays:
        values = {name: arrays[name].tobytes() for name in arrays.files}
    progress = json.loads(values.pop("progress"))
    rows = [*progress["history"], progress["row"], progress]
    for row in rows:
        for name in [name for name in row if name.endswith("_s")]:
            del row[name]
    return values, progress


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(
    "num_kills", [pytest.param(1, id="one"), pytest.param(14, id="many", marks=pytest.mark.slow)]
)
def test_killed_at_random_moments_it_ends_with_the_same_files(name, num_kills, place, capsys):
    stage, clock = STAGES[name], random.Random(0)
    output = place / stage.output
    with start(place, stage) as process:
        begin = wait_for_first_write(process, output)
        assert not finish(process)
    work_s, expected = time.monotonic() - begin, files(output)
    shutil.rmtree(output)
    kills = ends = 0
    while kills < num_kills or output.exists():
        with start(place, stage, *stage.resume(place)) as process:
            wait_for_first_write(process, output)
            if kills < num_kills:
                time.sleep(clock.uniform(0, work_s))
                with contextlib.suppress(ProcessLookupError):  # It may have ended.
                    os.killpg(process.pid, SIGNALS[kills % len(SIGNALS)])
            if finish(process):
                kills += 1
                continue
        assert files(output) == expected
        shutil.rmtree(output)
        ends += 1
    with capsys.disabled():
        print(f"\n{name}: {kills} kills in {work_s:.1f} s of work, {ends} runs came to their end")
