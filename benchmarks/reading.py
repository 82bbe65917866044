"""Times the opening of patch files, and random batches out of them on one thread.

In: patch files. Out: a table on stdout, for these files and for many small ones of noise, while the
process may have 1,024 files open: seconds to open them, and patches per second when they are read
for the first time, which compares checksums, again, and from the disk.

    python benchmarks/reading.py --patches data/patches
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import copy_gb_per_s, in_turn, print_header, print_rates, write_noise
from brats.patches.reader import PatchReader
from brats.patches.set import open_patches

MOST_OPEN = 1024


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", default=["data/patches"])
    parser.add_argument("--noise-cases", type=int, default=1251)
    parser.add_argument("--noise-patches", type=int, default=8, help="of each of these cases")
    parser.add_argument("--folder", type=Path, help="where to write noise; default: TMPDIR")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print_header("Reading patches", options, "h5py")
    print(f"copying memory, one core: {copy_gb_per_s():.1f} GB/s")
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_OPEN, hard_limit))
    time_files(options.patches, options)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_noise(folder, options.noise_cases, options.noise_patches)
        time_files([folder], options)


def time_files(paths, options):
    """Prints the rows of a set of patch files."""
    start = time.perf_counter()
    files = open_patches(paths)
    elapsed_s = time.perf_counter() - start
    reader, rng = PatchReader(files), np.random.default_rng(0)
    print(f"\n{len(files):,} files, {len(reader):,} patches, opened in {elapsed_s:.2f} s")
    batches = rng.integers(0, len(reader), (options.batches, options.batch_size))

    def read_all():
        for batch in batches:
            reader.read(batch)

    def drop():
        for file in files:
            drop_from_cache(file.path)

    read_all()  # Fills the page cache.
    rows = {"first time, with checksums": [], "again": [], "one by one with h5py": []}
    for _ in range(options.runs):
        reader = PatchReader(files)
        rows["first time, with checksums"] += in_turn({"": read_all}, 1)[""]
        rows["again"] += in_turn({"": read_all}, 1)[""]
        few = batches[: max(1, options.batches // 10)]
        seconds = in_turn({"": lambda few=few: read_with_h5py(files, few)}, 1)[""][0]
        rows["one by one with h5py"].append(seconds * len(batches) / len(few))
    for _ in range(options.runs):
        drop()
        rows.setdefault("from the disk", []).extend(in_turn({"": read_all}, 1)[""])
    print_rates("patches/s", batches.size, rows)


def read_with_h5py(files, batches):
    """Reads batches patch by patch through h5py; opens a file for each patch."""
    starts = np.cumsum([0, *(file.num_patches for file in files)])
    for index in batches.ravel():
        owner = int(np.searchsorted(starts, index, side="right")) - 1
        with h5py.File(files[owner].path, "r") as file:
            place = int(index - starts[owner])
            file["images"][place], file["labels"][place]


def drop_from_cache(path):
    """Drops a file from the page cache, so that the next reads come from the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
