"""Times random batches out of patch files of several layouts, and out of the real one.

In: a patch file. Out: three tables on stdout: patches per second of `PatchReader` beside the ways
of h5py, warm and with the file dropped from the page cache; of layouts that the first patches are
written in again: type, compression, patches per chunk; and, for files of many patches without
content, which take little disk, seconds to open one and the memory of a pass over it.

    python benchmarks/reading.py --patches data/patches.h5
"""

import argparse
import importlib.util
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import copy_gb_per_s, in_turn, print_header, print_rates
from brats.patches.file import keep_case, laying_out, stored_bytes
from brats.patches.reader import PatchReader
from engine.training.batches import num_batches, training_batches

PATCHES_PER_CASE = 438


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=Path, default=Path("data/patches.h5"))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--layout-patches", type=int, default=1500)
    parser.add_argument("--sparse-patches", type=int, nargs="+", default=[200_000, 2_000_000])
    parser.add_argument("--sparse-batches", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print_header("Reading patches", options, "h5py")
    print(f"copying memory, one core: {copy_gb_per_s():.1f} GB/s")
    time_readers(options)
    time_layouts(options)
    time_openings(options)


def time_readers(options):
    """Prints the rates of the reader and of h5py on the patch file itself."""
    reader = PatchReader(options.patches, "train")
    rng = np.random.default_rng(0)
    batches = random_batches(rng, len(reader), options)
    with h5py.File(options.patches, "r") as file:
        group = file["train"]
        few = batches[:4]  # Fancy indexing is that much slower.
        amount = len(batches) * options.batch_size
        ways = {
            "PatchReader": lambda: [reader.read(batch) for batch in batches],
            "read_direct of h5py": lambda: [read_direct(group, batch) for batch in batches],
        }
        for way in ways.values():
            way()  # Warms the page cache.
        print_rates("warm, patches/s", amount, in_turn(ways, options.runs))
        slow = {"fancy indexing of h5py": lambda: [fancy(group, batch) for batch in few]}
        print_rates("", len(few) * options.batch_size, in_turn(slow, options.runs))
    cold = {"PatchReader, cold": lambda: [reader.read(batch) for batch in batches]}
    elapsed = {"PatchReader, cold": []}
    for _ in range(options.runs):
        drop_from_cache(options.patches)
        elapsed["PatchReader, cold"] += in_turn(cold, 1)["PatchReader, cold"]
    print_rates("cold, patches/s", amount, elapsed)
    megabytes = {name: [s / 0.2785 for s in seconds] for name, seconds in elapsed.items()}
    print_rates("cold, MB/s", amount, megabytes)


def time_layouts(options):
    """Prints size, write speed and random read speed of the first patches in other layouts."""
    images, labels = PatchReader(options.patches, "train").read(range(options.layout_patches))
    amount = options.layout_patches
    batches = random_batches(np.random.default_rng(0), amount, options)[:8]
    print(f"\n{'layout of ' + str(amount) + ' patches':<34}{'MB':>8}{'written/s':>11}{'read/s':>9}")
    for name, (dtype, per_chunk, filters) in layouts().items():
        with tempfile.TemporaryDirectory(dir=options.patches.absolute().parent) as folder:
            path = Path(folder) / "patches.h5"
            start = time.perf_counter()
            write_layout(path, images.astype(dtype), labels, per_chunk, filters)
            written = amount / (time.perf_counter() - start)
            with h5py.File(path, "r") as file:
                elapsed = in_turn(
                    {name: lambda file=file: [read_direct(file, batch) for batch in batches]},
                    options.runs,
                )[name]
            read = len(batches) * options.batch_size / float(np.median(elapsed))
            size = path.stat().st_size / 1e6
            print(f"{name:<34}{size:8.0f}{written:11.0f}{read:9.0f}", flush=True)


def time_openings(options):
    """Prints time and memory of files of patches without content, a process of its own for each."""
    columns = (
        "GB",
        "CPU s",
        "cold s",
        "B/patch",
        "opened MB",
        "10",
        "100",
        options.sparse_batches,
    )
    print(f"\n{'patches without content':<24}" + "".join(f"{name!s:>10}" for name in columns))
    for number in options.sparse_patches:
        with tempfile.TemporaryDirectory(dir=options.patches.absolute().parent) as folder:
            path = Path(folder) / "sparse.h5"
            write_sparse(path, number)
            drop_from_cache(path)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                numbers = pool.apply(measure_pass, (path, options))
            size_gb = path.stat().st_size / 1e9
        row = "".join(f"{value:10.4g}" for value in (size_gb, *numbers))
        print(f"{number:<24,}{row}", flush=True)


def measure_pass(path, options):
    """Opens a file and reads random batches; returns seconds, bytes and MB of resident memory.

    Returns:
        List of the median processor seconds of opening it, and the seconds of the first time; the
        bytes that the reader keeps per patch; and by how much memory has grown at most in opening
        it, and in the first 10, 100 and all batches of the pass.
    """
    elapsed, processor, peaks, before = [], [], [], _reset_peak_mb()
    for _ in range(options.runs + 1):
        start, start_processor = time.perf_counter(), time.process_time()
        reader = PatchReader(path, "train")
        elapsed.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    peaks.append(_peak_mb() - before)
    before, rng = _reset_peak_mb(), np.random.default_rng(0)
    steps = num_batches(len(reader), options.batch_size)
    batches = training_batches(reader, options.batch_size, steps, rng)
    for number, _ in enumerate(itertools.islice(batches, options.sparse_batches), 1):
        if number in (10, 100, options.sparse_batches):
            peaks.append(_peak_mb() - before)
    num_bytes = sum(part.nbytes for runs in reader._runs for part in runs)
    return [float(np.median(processor[1:])), elapsed[0], num_bytes / len(reader), *peaks]


def _reset_peak_mb():
    """Makes what memory the process has now its peak; returns it."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def write_sparse(path, num_patches):
    """Lays a file of patches out without writing any: they read as 0, and take no disk."""
    with path.open("wb") as file:
        file.truncate(stored_bytes(num_patches, "float32") * 21 // 20 + 2**26)
    with laying_out(path, "float32") as (file, disk):
        for start in range(0, num_patches, PATCHES_PER_CASE):
            centers = np.zeros((min(PATCHES_PER_CASE, num_patches - start), 3), np.int32)
            keep_case(disk, file["train"], start // PATCHES_PER_CASE, centers)
        disk.release()


def layouts():
    """Returns (type, patches per chunk, filters) of every layout, by name."""
    gzip = {"compression": "gzip", "compression_opts": 1}
    chosen = {"float32": ("float32", 1, {}), "float16": ("float16", 1, {})}
    chosen["float32, 32 patches per chunk"] = ("float32", 32, {})
    for dtype in ("float32", "float16"):
        chosen[f"{dtype}, lzf"] = (dtype, 1, {"compression": "lzf"})
        chosen[f"{dtype}, gzip 1"] = (dtype, 1, gzip)
        chosen[f"{dtype}, shuffle and gzip 1"] = (dtype, 1, gzip | {"shuffle": True})
        if importlib.util.find_spec("hdf5plugin"):
            import hdf5plugin

            chosen[f"{dtype}, Blosc2 lz4"] = (dtype, 1, dict(hdf5plugin.Blosc2(cname="lz4")))
    return chosen


def random_batches(rng, num_patches, options):
    """Returns the indices of random batches, none sorted, `(B, batch size)`."""
    return rng.integers(0, num_patches, (options.batches, options.batch_size))


def read_direct(group, indices):
    """Reads a batch patch by patch with h5py."""
    images = np.empty((len(indices), *group["images"].shape[1:]), group["images"].dtype)
    labels = np.empty((len(indices), *group["labels"].shape[1:]), np.uint8)
    for position, index in enumerate(indices):
        group["images"].read_direct(images, np.s_[index], np.s_[position])
        group["labels"].read_direct(labels, np.s_[index], np.s_[position])
    return images, labels


def fancy(group, indices):
    """Reads a batch with h5py's fancy indexing, which wants sorted indices."""
    ordered = np.unique(indices)
    return group["images"][ordered], group["labels"][ordered]


def write_layout(path, images, labels, per_chunk, filters):
    """Writes patches in chunks with the given filters."""
    with h5py.File(path, "w") as file:
        for name, values in (("images", images), ("labels", labels)):
            chunks = (min(per_chunk, len(values)), *values.shape[1:])
            file.create_dataset(name, data=values, chunks=chunks, **filters)


def drop_from_cache(path):
    """Drops a file from the page cache, so that the next reads come from the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
