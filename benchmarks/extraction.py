"""Times the extraction, and the same work done the way the original does it.

In: case folders. Out: a table on stdout: patches per second of `extract_patches.py`, start of
Python included, with the peak memory of its process, for some of the cases and for all of them;
and of a few lines of NumPy that take the original's way, in memory.

    python benchmarks/extraction.py --data-root CASES
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

SCRIPT = Path(__file__).resolve().parent.parent / "extract_patches.py"
PATCHES_PER_CASE = 438


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, default=Path("data/brats"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--original-cases", type=int, default=2)
    options = parser.parse_args()
    print_header("Extraction", options, "h5py", "SimpleITK")
    cases = find_cases(options.data_root, need_segmentation=True)
    print(f"copying memory, one core: {copy_gb_per_s():.1f} GB/s")
    print(f"{'':<26}{'patches/s':>10}{'least':>8}{'most':>8}{'wall s':>8}{'peak MB':>9}")
    for number in sorted({len(cases) // 4, len(cases) // 2, len(cases)} - {0}):
        runs = [extract(cases[:number]) for _ in range(options.runs)]
        print_row(f"{number} cases", number, *zip(*runs, strict=True))
    chosen = cases[: options.original_cases]
    if not chosen:
        return
    start = time.perf_counter()
    extract_as_the_original(chosen)
    elapsed_s = time.perf_counter() - start
    print_row(f"original's way, {len(chosen)} cases", len(chosen), [elapsed_s], [0])


def extract(cases):
    """Extracts cases in a process of its own; returns its wall time in s and its peak in MB."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "cases"
        root.mkdir()
        for case in cases:
            source = next(iter(case.images.values())).parent.resolve()
            (root / case.id).symlink_to(source, target_is_directory=True)
        command = [sys.executable, SCRIPT, "--data-root", root, "--validation-fraction", "0"]
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--output", Path(folder) / "patches.h5"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        elapsed_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command} failed with exit code {process.returncode}.")
    return elapsed_s, usage.ru_maxrss / 1e3


def print_row(name, num_cases, elapsed_s, peak_mb):
    """Prints one row: rates and wall time are medians, the peak is the largest."""
    rates = [num_cases * PATCHES_PER_CASE / value for value in elapsed_s]
    numbers = f"{statistics.median(rates):10.0f}{min(rates):8.0f}{max(rates):8.0f}"
    wall_s = statistics.median(elapsed_s)
    print(f"{name:<26}{numbers}{wall_s:8.2f}{max(peak_mb) or float('nan'):9.0f}", flush=True)


def extract_as_the_original(cases):
    """Makes patches the way of the original: slice by slice, everything in memory.

    Args:
        cases: Cases with ground truth.

    Returns:
        `(images, one_hot)`: float32 `(N, 128, 128, 4)` and uint8 of the same shape.
    """
    images, labels = [], []
    for case in cases:
        paths = [*case.images.values(), case.segmentation]
        volumes = [SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) for path in paths]
        *modalities, truth = (volume[1:147, 29:221, 42:194] for volume in volumes)
        channels = [np.stack([_normalized_slice(pixels) for pixels in each]) for each in modalities]
        channels = np.stack(channels, axis=-1).astype(np.float32)  # (Z, Y, X, M)
        centers = np.argwhere((channels[..., 0] != 0) & (channels[..., 0] != -9))
        np.random.default_rng(0).shuffle(centers)
        taken = 0
        for z, y, x in centers:
            patch = channels[z, max(y - 64, 0) : y + 64, max(x - 64, 0) : x + 64]
            if patch.shape[:2] == (128, 128):
                images.append(patch)
                labels.append(truth[z, y - 64 : y + 64, x - 64 : x + 64])
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
