"""Times `extract_patches.py` beside the original's way of extraction.

In: case folders. Out: a table on stdout: `extract_patches.py` as a process, the start of Python
included, on all cases; a few lines of NumPy that extract two cases the way the original does, in
memory; and the peak memory of the process.

    python -m benchmarks.extraction --data-root CASES
"""

import argparse
import resource
import subprocess
import sys
import tempfile

import numpy as np
import SimpleITK

from benchmarks.measure import in_turn, print_header, print_table
from brats.cases.find import find_cases

PATCHES_PER_CASE = 438
ORIGINAL_CASES = 2


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", default="data/brats")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print_header("Extraction", options, "h5py", "SimpleITK")
    cases, _ = find_cases(options.data_root, need_segmentation=True)
    chosen = cases[:ORIGINAL_CASES]
    extract(options.data_root)  # Fills the page cache.
    # Not later: Linux counts the memory of this process at the start of one as that one's.
    peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    ways = {
        f"original's way, {len(chosen)} cases": lambda: extract_as_the_original(chosen),
        f"extract_patches.py, {len(cases)} cases": lambda: extract(options.data_root),
    }
    numbers = (len(each) * PATCHES_PER_CASE for each in (chosen, cases))
    amounts = {"patches/s": dict(zip(ways, numbers, strict=True))}
    print_table(in_turn(ways, options.runs), amounts)
    print(f"peak memory of extract_patches.py: {peak_kb / 1e3:.0f} MB")


def extract(data_root):
    """Extracts all cases in a process of its own, into a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        paths = ["--data-root", data_root, "--output", f"{folder}/patches"]
        command = [sys.executable, "extract_patches.py", *paths]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def extract_as_the_original(cases):
    """Extracts patches the way the original does: slice by slice, everything in memory."""
    images, labels = [], []
    for case in cases:
        paths = [*case.images.values(), case.segmentation]
        volumes = [SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) for path in paths]
        *modalities, reference = (volume[1:147, 29:221, 42:194] for volume in volumes)
        channels = [np.stack([_normalized_slice(pixels) for pixels in each]) for each in modalities]
        channels = np.stack(channels, axis=-1).astype(np.float32)  # (Z, Y, X, M)
        centers = np.argwhere((channels[..., 0] != 0) & (channels[..., 0] != -9))
        np.random.default_rng(0).shuffle(centers)
        within = ((centers >= (0, 64, 64)) & (centers <= (145, 128, 88))).all(axis=1)
        for z, y, x in centers[within][:PATCHES_PER_CASE]:
            where = z, slice(y - 64, y + 64), slice(x - 64, x + 64)
            images.append(channels[where])
            labels.append(reference[where])
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
