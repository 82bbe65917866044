"""Times random batches out of patch files on one thread.

In: patch files, or many small ones of noise. Out: a table on stdout, while the process may have
1,024 files open: the opening of all files, and batches read for the first time, which compares
checksums, again, and from the disk.

    python -m benchmarks.reading --patches data/patches
    TMPDIR=/dev/shm python -m benchmarks.reading
"""

import argparse
import os
import resource
import tempfile

import numpy as np

from benchmarks.measure import in_turn, print_header, print_table, write_noise
from brats.patches.reader import PatchReader
from brats.patches.set import open_patches

MOST_OPEN = 1024
BATCH_SIZE = 32


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", help="default: noise, 8 patches per case")
    parser.add_argument("--noise-cases", type=int, default=1251)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print_header("Reading patches", options, "h5py")
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_OPEN, hard_limit))
    with tempfile.TemporaryDirectory() as folder:
        paths = options.patches or [write_noise(folder, options.noise_cases, 8)]
        time_files(paths, options)


def time_files(paths, options):
    """Prints the table of a set of patch files."""
    files = open_patches(paths)
    again = PatchReader(files)
    print(f"{len(files):,} files, {len(again):,} patches, batches of {BATCH_SIZE}")
    rng = np.random.default_rng(0)
    batches = rng.integers(0, len(again), (options.batches, BATCH_SIZE))

    def read(reader):
        for batch in batches:
            reader.read(batch)

    read(again)  # Fills the page cache.
    ways = {
        "first time, with checksums": lambda: read(PatchReader(files)),
        "again": lambda: read(again),
        "dropping from the cache": lambda: drop_from_cache(files),
        "from the disk": lambda: read(again),
        "opening the files": lambda: open_patches(paths),
    }
    rates = ("first time, with checksums", "again", "from the disk")
    print_table(in_turn(ways, options.runs), {"patches/s": dict.fromkeys(rates, batches.size)})


def drop_from_cache(files):
    """Drops files from the page cache, so that the next reads come from the disk."""
    for each in files:
        with open(each.path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
