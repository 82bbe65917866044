"""Times the extraction, of two checkouts in turn if asked for, and of the original's way.

In: case folders. Out: a table on stdout: patches per second of `extract_patches.py`, the start of
Python included, with the peak memory of its process; and of a few lines of NumPy that extract the
way the original does, in memory.

    python benchmarks/extraction.py --data-root CASES --other CHECKOUT
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import copy_gb_per_s, print_header
from brats.cases.find import find_cases

ROOT = Path(__file__).resolve().parent.parent
PATCHES_PER_CASE = 438


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, default=Path("data/brats"))
    parser.add_argument("--other", type=Path, help="another checkout, to time in turn")
    parser.add_argument("--folder", type=Path, help="where to write; default: TMPDIR")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--original-cases", type=int, default=2)
    options = parser.parse_args()
    print_header("Extraction", options, "h5py", "SimpleITK")
    cases, _ = find_cases(options.data_root, need_segmentation=True)
    checkouts = {"this checkout": ROOT} | ({"other": options.other} if options.other else {})
    runs = {name: [] for name in checkouts}
    for _ in range(options.runs):
        for name, checkout in checkouts.items():
            runs[name].append(extract(checkout.resolve(), options))
    columns = ("patches/s", "least", "most", "wall s", "peak MB", "ratio")
    print(f"{'':<26}" + "".join(f"{name:>10}" for name in columns))
    for name, results in runs.items():
        print_row(f"{name}, {len(cases)} cases", len(cases), results, runs["this checkout"])
    # Not before: Linux counts the memory of this process at the start of one as that one's.
    print(f"copying memory, one core: {copy_gb_per_s():.1f} GB/s")
    chosen = cases[: options.original_cases]
    if chosen:
        start = time.perf_counter()
        extract_as_the_original(chosen)
        result = (time.perf_counter() - start, float("nan"))
        print_row(f"original's way, {len(chosen)} cases", len(chosen), [result])


def extract(checkout, options):
    """Extracts all cases in a process; returns its wall time in s and its peak memory in MB."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        output = ["--output", f"{folder}/patches"]
        if not (checkout / "brats" / "patches").is_dir():  # It writes all cases to one file.
            output = ["--output", f"{folder}/patches.h5", "--validation-fraction", "0"]
        script, root = checkout / "extract_patches.py", options.data_root.resolve()
        command = [sys.executable, script, "--data-root", root, *output]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        elapsed_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command} failed with exit code {process.returncode}.")
    return elapsed_s, usage.ru_maxrss / 1e3


def print_row(name, num_cases, results, first=None):
    """Prints a row: rates and wall time are medians, the peak is the largest."""
    elapsed_s, peak_mb = zip(*results, strict=True)
    rates = [num_cases * PATCHES_PER_CASE / value for value in elapsed_s]
    numbers = f"{statistics.median(rates):10.0f}{min(rates):10.0f}{max(rates):10.0f}"
    numbers += f"{statistics.median(elapsed_s):10.2f}{max(peak_mb):10.0f}"
    if first:
        pairs = zip(first, elapsed_s, strict=True)
        numbers += f"{statistics.median(one / other for (one, _), other in pairs):10.3f}"
    print(f"{name:<26}{numbers}", flush=True)


def extract_as_the_original(cases):
    """Extracts patches the way the original does: slice by slice, everything in memory.

    Args:
        cases: Cases with a reference.

    Returns:
        `(images, one_hot)`: float32 `(N, 128, 128, 4)` and uint8 of the same shape.
    """
    images, labels = [], []
    for case in cases:
        paths = [*case.images.values(), case.segmentation]
        volumes = [SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) for path in paths]
        *modalities, reference = (volume[1:147, 29:221, 42:194] for volume in volumes)
        channels = [np.stack([_normalized_slice(pixels) for pixels in each]) for each in modalities]
        channels = np.stack(channels, axis=-1).astype(np.float32)  # (Z, Y, X, M)
        centers = np.argwhere((channels[..., 0] != 0) & (channels[..., 0] != -9))
        np.random.default_rng(0).shuffle(centers)
        taken = 0
        for z, y, x in centers:
            patch = channels[z, max(y - 64, 0) : y + 64, max(x - 64, 0) : x + 64]
            if patch.shape[:2] == (128, 128):
                images.append(patch)
                labels.append(reference[z, y - 64 : y + 64, x - 64 : x + 64])
                taken += 1
            if taken == PATCHES_PER_CASE:
                break
    labels = np.array(labels)
    labels[labels == 4] = 3
    return np.array(images), np.eye(4, dtype=np.uint8)[labels]


def _normalized_slice(pixels):
    low, high = np.percentile(pixels, 1), np.percentile(pixels, 99)
    clipped = np.clip(pixels, low, high)
    brain = clipped[np.nonzero(clipped)]
    if clipped.std() == 0 or brain.std() == 0:
        return clipped
    standardized = (clipped - brain.mean()) / brain.std()
    standardized[standardized == standardized.min()] = -9
    return standardized


if __name__ == "__main__":
    main()
