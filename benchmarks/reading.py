"""Times the opening of patch files, and random batches out of them on one thread.

In: patch files. Out: a table on stdout, for these files and for many small ones of noise, while the
process may have 1,024 files open: seconds to open them, and patches per second when they are read
for the first time, which compares checksums, again, and from the disk.

    python benchmarks/reading.py --patches data/patches
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
from pathlib import Path

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
    opening = in_turn({"": lambda: open_patches(paths)}, options.runs)[""]
    files = open_patches(paths)
    reader, rng = PatchReader(files), np.random.default_rng(0)
    seconds = f"opened in {statistics.median(opening):.2f} s, the first time in {opening[0]:.2f} s"
    print(f"\n{len(files):,} files, {len(reader):,} patches, {seconds}")
    batches = rng.integers(0, len(reader), (options.batches, options.batch_size))

    def read_all():
        for batch in batches:
            reader.read(batch)

    read_all()  # Fills the page cache.
    rows = {"first time, with checksums": [], "again": [], "from the disk": []}
    for _ in range(options.runs):
        reader = PatchReader(files)
        for name, seconds in rows.items():
            if name == "from the disk":
                drop_from_cache(files)
            seconds += in_turn({name: read_all}, 1)[name]
    print_rates("patches/s", batches.size, rows)


def drop_from_cache(files):
    """Drops files from the page cache, so that the next reads come from the disk."""
    for each in files:
        with open(each.path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
