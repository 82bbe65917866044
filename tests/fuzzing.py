"""Damaged files through the readers, in a process that may crash, hang or fill the memory.

In: the name of a target of `tests/targets.py` and a range of seeds, each of which gives one input.
Out: a `Report` of the inputs that a reader neither read nor refused with an error that names the
file, each of which is kept. All but two lines per input happens in the child process.

    python -m tests.fuzzing --out FOLDER [--share 0.03] [TARGET ...]

writes a table of all targets, which is that of `docs/results.md`.
"""

import argparse
import contextlib
import importlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brats.errors import InputError

# Inputs in the long version; the readers of the second need Keras.
TARGETS = {
    "nifti": 3000,
    "nifti_compressed": 2000,
    "nifti_decathlon": 1500,
    "patch_file": 1500,
    "journal": 800,
    "predictions_record": 800,
    "scores": 800,
    "grades": 800,
}
KERAS_TARGETS = {"run_record": 800, "state": 800, "original_weights": 400, "network": 400}
ROOT = Path(__file__).parents[1]
LIMIT_S = 5.0
LIMIT_MB = 1000
LONGEST_MESSAGE = 1500
INPUT = ".input"
START_S = 120  # For the imports and the valid samples.


@dataclass
class Report:
    """What became of the inputs of a target.

    Attributes:
        num_read: Inputs that were read in spite of their faults.
        num_refused: Inputs that were refused with an error that names the file.
        faults: List of `(seed, what happened)`.
        longest_s: Longest time of an input.
        peak_mb: Most resident memory of the child process.
    """

    num_read: int = 0
    num_refused: int = 0
    faults: list = field(default_factory=list)
    longest_s: float = 0.0
    peak_mb: float = 0.0

    @property
    def num_inputs(self):
        """All inputs."""
        return self.num_read + self.num_refused + len(self.faults)


def fuzz(target, seeds, folder, limit_s=LIMIT_S, limit_mb=LIMIT_MB):
    """Gives the inputs of some seeds to a target, in child processes.

    Args:
        target: Name of a function in `tests.targets` or `tests.keras_targets`.
        seeds: A `range` of ints with step 1.
        folder: Where the inputs with faults are kept, as `<target>-<seed>-<name>`.
        limit_s: Longest time for one input.
        limit_mb: Most resident memory of the process.

    Returns:
        A `Report`.
    """
    report, first = Report(), seeds.start
    folder.mkdir(parents=True, exist_ok=True)
    while first < seeds.stop:
        with tempfile.TemporaryDirectory() as place:
            numbers = map(str, (first, seeds.stop, limit_mb))
            command = [sys.executable, "-m", "tests.fuzzing", "--child", place, target, *numbers]
            with _child(command) as child:
                first, path = _follow(child, report, first, seeds.stop, limit_s, limit_mb)
            if path:
                seed, reason = report.faults[-1]
                copy = folder / f"{target}-{seed}-{path}"
                shutil.copyfile(Path(place, INPUT), copy)
                print(f"{copy}: {reason}", flush=True)
    return report


@contextlib.contextmanager
def _child(command):
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _follow(child, report, seed, stop, limit_s, limit_mb):
    """Follows a child up to its first fault; returns the next seed, and the path of that input."""
    lines = _lines(child, limit_mb)
    path = None
    while seed < stop:
        kind, value = lines(limit_s if path else START_S)
        if kind == "begin":
            path = value
            continue
        if kind == "end":
            report.longest_s = max(report.longest_s, value["seconds"])
            report.peak_mb = max(report.peak_mb, value["peak_mb"])
            report.num_refused += value["refused"] and not value["fault"]
            report.num_read += not (value["refused"] or value["fault"])
        reason = value["fault"] if kind == "end" else value
        if not path:
            raise RuntimeError(f"Input {seed} could not be made: {reason}.")
        if reason:
            report.faults.append((seed, reason))
            return seed + 1, path
        path, seed = None, seed + 1
    return seed, None


def _lines(child, limit_mb):
    """Returns the function that waits for a line of a child, at most some seconds."""
    buffer = bytearray()

    def next_line(limit_s):
        end = time.monotonic() + limit_s
        while b"\n" not in buffer:
            if select.select([child.stdout], [], [], 0.05)[0]:
                content = os.read(child.stdout.fileno(), 2**16)
                if not content:
                    return "died", f"ended the process with code {child.wait()}"
                buffer.extend(content)
            elif (resident_mb := _memory_mb(child.pid, "VmRSS")) > limit_mb:
                return "grew", f"took {resident_mb:.0f} MB"
            elif time.monotonic() > end:
                return "hung", f"took more than {limit_s:g} s"
        line, _, rest = buffer.partition(b"\n")
        buffer[:] = rest
        return json.loads(line)

    return next_line


def _memory_mb(pid, name):
    """Returns resident memory of a process, now (VmRSS) or at most (VmHWM).

    `ru_maxrss` would not do: a child inherits that of the process which started it.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1e3
    return 0.0  # The process has ended.


def run_child(place, target, first, stop, limit_mb):
    """Gives the inputs of a range of seeds to a target, one after the other, up to a fault."""
    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print is no line of ours.
    module = "tests.keras_targets" if target in KERAS_TARGETS else "tests.targets"
    write, readers = getattr(importlib.import_module(module), target)(Path(place))
    for seed in range(first, stop):
        path = write(np.random.default_rng([seed, *target.encode()]))
        shutil.copyfile(path, Path(place, INPUT))  # Readers may remove it.
        print(json.dumps(["begin", path.name]), file=say, flush=True)
        start = time.perf_counter()
        outcomes = [outcome(read, path) for read in readers]
        seconds, peak_mb = time.perf_counter() - start, _memory_mb("self", "VmHWM")
        faults = [fault for _, fault in outcomes if fault]
        if peak_mb > limit_mb:
            faults.append(f"took {peak_mb:.0f} MB")
        found = {"refused": any(refused for refused, _ in outcomes), "fault": "".join(faults[:1])}
        found |= {"seconds": seconds, "peak_mb": peak_mb}
        print(json.dumps(["end", found]), file=say, flush=True)
        if faults:
            return  # So that the next one meets a fresh process.


def outcome(read, path):
    """Returns whether a reader refuses a file, and what is wrong with that, or None."""
    try:
        read()
    except (InputError, OSError) as error:
        return True, complaint(error, path)
    except BaseException:
        return False, traceback.format_exc(limit=-6)
    return False, None


def complaint(error, path):
    """Returns what is wrong with the message of an error, or None: a line that names the file.

    Some name the folder, such as that of the predictions, which is one with its record.
    """
    message = str(error)
    if path.name not in message and str(path.parent) not in message:
        return f"does not name the file: {error!r}"
    if "\n" in message or len(message) > LONGEST_MESSAGE:
        return f"is not a sentence: {error!r:.3000}"
    return None


def main():
    """Runs targets from the command line, and prints a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    print("| target | inputs | read | refused | faults | longest s | peak MB | s |")
    num_inputs = TARGETS | KERAS_TARGETS
    for target in options.targets or num_inputs:
        start, num = time.perf_counter(), round(num_inputs[target] * options.share)
        found = fuzz(target, range(options.first, options.first + num), options.out)
        print(
            f"| {target} | {found.num_inputs:,} | {found.num_read:,} | {found.num_refused:,} | "
            f"{len(found.faults)} | {found.longest_s:.2f} | {found.peak_mb:.0f} | "
            f"{time.perf_counter() - start:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_child(*sys.argv[2:4], *map(int, sys.argv[4:]))
    else:
        main()
