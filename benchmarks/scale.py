"""The cost of a data set of any size, from measured constants, as the tables of docs/scale.md.

In: the constants below. Out: Markdown tables on stdout. With a folder of cases, the model is held
against extractions of some and of all of them first.

    python benchmarks/scale.py
    python benchmarks/scale.py --data-root CASES
"""

import argparse
import math
import resource
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.extraction import PATCHES_PER_CASE, extract
from benchmarks.measure import print_header
from brats.cases.find import find_cases
from brats.patches.file import stored_bytes

COHORTS = {"BraTS 2017": 285, "BraTS 2021": 1_251, "100,000 cases": 100_000}
TRAINED_ON = 0.8  # Of the cases; the others are validated on.
EPOCHS = 3
BATCH_SIZE = 4  # Of the published recipe, on one device.
GPUS = (1, 8, 64)
CORES = (2, 16, 64, 512)
PARAMETERS = 10_159_748
VALIDATION = 1 / 3  # Of the time of a training patch: without gradients.
COMMUNICATION = 0.1  # Share of a step that the gradients may take.

# Value, unit, and source: the heading in docs/results.md.
CONSTANTS = {
    "extraction_core_s": (0.56, "core s per case", "'Extraction of more and more cases'"),
    "extraction_start_s": (0.47, "core s", "'Extraction of more and more cases'"),
    "prediction_core_s": (51.7, "core s per case", "'Prediction of one real volume'"),
    "cpu_patches_per_s": (
        1.77,
        "patches/s on 2 cores",
        "'Training steps of the full-size network'",
    ),
    "disk_mb_per_s": (614, "MB/s", "'Reading patches', not in memory"),
    "reader_patches_per_s": (
        14_840,
        "patches/s, float32, one thread",
        "'Reading patches', in memory",
    ),
    "input_mb": (9.24, "MB per case", "'Bytes of a case'"),
    "prediction_mb": (2.67, "MB per case", "'Bytes of a case'"),
    "opening_s": (5.0, "core s per million patches", "'Patch files beyond the memory'"),
    "opening_disk_s": (24, "s per million, index from disk", "'Patch files beyond the memory'"),
    "place_bytes": (0.635, "B per patch", "'Patch files beyond the memory'"),
    "gpu_prediction_s": (
        0.530,
        "s per case, whole slices, the network alone, tf32",
        "'Backends, devices and hosts'",
    ),
}
# Training on one H200 under JAX: precision, batch size, patches/s and source.
GPU_TRAINING = (
    ("float32", 32, 360, "'Backends, devices and hosts'"),
    ("tf32", 128, 1_524, "'Backends, devices and hosts'"),
    ("bfloat16", 128, 2_595, "'Backends, devices and hosts'"),
)
VALUES = {name: value for name, (value, _, _) in CONSTANTS.items()}


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, help="cases to extract; default: none")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if options.data_root:
        print_header("The model against extractions", options, "h5py", "SimpleITK")
        print(check_extraction(options))
    for title, table in tables().items():
        print(f"\n**{title}**\n\n{table}")


def check_extraction(options):
    """Returns the table of extractions of a quarter, half and all cases, in turn, and of lines.

    The line of a row goes through the other two numbers of cases. Processor seconds are what the
    tables are made from: other work on the machine hardly changes them.
    """
    cases = find_cases(options.data_root, need_segmentation=True)
    numbers = sorted({len(cases) // 4, len(cases) // 2, len(cases)} - {0})
    elapsed = {number: [] for number in numbers}
    for _ in range(options.runs):
        for number in numbers:
            before = _children_s()
            wall_s, _ = extract(cases[:number])
            elapsed[number].append((wall_s, _children_s() - before))
    tables = []
    for kind, name in enumerate(("wall", "processor")):
        seconds = {number: [run[kind] for run in runs] for number, runs in elapsed.items()}
        tables.append(_lines_table(name, seconds))
    return "\n\n".join(tables)


def _children_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _lines_table(name, seconds):
    medians = {number: statistics.median(values) for number, values in seconds.items()}
    rows = []
    for number, median in medians.items():
        others = [each for each in medians if each != number]
        line = np.polyfit(others, [medians[each] for each in others], 1)
        predicted = np.polyval(line, number)
        cells = (median, min(seconds[number]), max(seconds[number]), predicted)
        error = f"{predicted / median - 1:+.1%}"
        rows.append((number, *(f"{cell:.2f}" for cell in cells), error))
    slope, start = np.polyfit(list(medians), list(medians.values()), 1)
    columns = ("cases", f"{name} s, median", "least", "most", "line of the others", "error")
    return f"{_markdown(columns, rows)}\n\nAll: {start:.2f} s and {slope:.3f} s per case."


def tables():
    """Returns the Markdown tables of docs/scale.md, by title."""
    return {
        "Constants": _markdown(
            ("constant", "value", "unit", "source"),
            [
                *((name, f"{value:,}", *rest) for name, (value, *rest) in CONSTANTS.items()),
                *(
                    ("training on a GPU", f"{rate:,}", f"patches/s, {name}, batch {size}", source)
                    for name, size, rate, source in GPU_TRAINING
                ),
            ],
        ),
        "Bytes, GB": bytes_table(),
        "Extraction": extraction_table(),
        "Prediction": prediction_table(),
        "Training": training_table(),
        "Memory and opening of the patch files": memory_table(),
        "Where it stops first": limits_table(),
    }


def bytes_table():
    """Returns the table of what lies on disk."""
    rows = []
    for name, num_cases in COHORTS.items():
        patches = num_cases * PATCHES_PER_CASE
        sizes_gb = [
            num_cases * VALUES["input_mb"] / 1e3,
            stored_bytes(patches, "float32") / 1e9,
            stored_bytes(patches, "float16") / 1e9,
            num_cases * VALUES["prediction_mb"] / 1e3,
        ]
        rows.append((name, f"{patches:,}", *map(_number, sizes_gb)))
    columns = ("", "patches", "images", "patch files, float32", "float16", "predictions and report")
    return _markdown(columns, rows)


def extraction_table():
    """Returns the table of hours of extraction, and of what the disks have to bear meanwhile."""
    rows = []
    for cores in CORES:
        seconds = VALUES["extraction_core_s"] / cores
        start_s = VALUES["extraction_start_s"]
        hours = [(start_s + number * seconds) / 3600 for number in COHORTS.values()]
        written = [
            stored_bytes(PATCHES_PER_CASE, dtype) / 1e9 / seconds
            for dtype in ("float32", "float16")
        ]
        cells = (*hours, VALUES["input_mb"] / 1e3 / seconds, *written)
        rows.append((cores, *map(_number, cells)))
    columns = ("cores", *_hours_columns(), "read, GB/s", "written, GB/s, float32", "float16")
    return _markdown(columns, rows)


def prediction_table():
    """Returns the table of hours of prediction, and of what is read and written meanwhile."""
    on_cores = {f"{cores} cores": VALUES["prediction_core_s"] / cores for cores in CORES}
    on_gpus = {
        f"{number} GPU, the network alone": VALUES["gpu_prediction_s"] / number for number in GPUS
    }
    rows = []
    for name, seconds in (on_cores | on_gpus).items():
        hours = [number * seconds / 3600 for number in COHORTS.values()]
        rates = [VALUES[each] / seconds for each in ("input_mb", "prediction_mb")]
        rows.append((name, *map(_number, (seconds, *hours, *rates))))
    columns = ("", "s per case", *_hours_columns(), "read, MB/s", "written, MB/s")
    return _markdown(columns, rows)


def _hours_columns():
    return tuple(f"{name}, h" for name in COHORTS)


def training_table():
    """Returns the table of training: hours, bytes from disk and between GPUs."""
    rows = []
    kinds = [("2 cores", 1, VALUES["cpu_patches_per_s"], BATCH_SIZE)]
    for precision, batch_size, rate, _ in GPU_TRAINING:
        kinds += [(f"{n} GPU, {precision}, {batch_size} each", n, rate, batch_size) for n in GPUS]
    for name, num_gpus, rate, batch_size in kinds:
        step_s = batch_size / rate
        traffic_mb = ring_bytes(num_gpus) / 1e6
        hours = [
            epoch_s(num_cases, num_gpus, rate, batch_size) * EPOCHS / 3600
            for num_cases in COHORTS.values()
        ]
        disks = [num_gpus * rate * stored_bytes(1, dtype) / 1e9 for dtype in ("float32", "float16")]
        network_gb_per_s = traffic_mb / 1e3 / (COMMUNICATION * step_s)
        cells = [num_gpus * rate, *hours, *disks, step_s * 1e3, traffic_mb, network_gb_per_s]
        rows.append((name, *map(_number, cells)))
    columns = ("", "patches/s", *_hours_columns(), "read, GB/s, float32")
    columns += ("float16", "step, ms", "gradients per step, MB", "each GPU's network, GB/s")
    return _markdown(columns, rows)


def memory_table():
    """Returns the table of what a pass keeps in memory of the whole set."""
    rows = []
    for name, num_cases in COHORTS.items():
        patches = trained_on(num_cases)
        order = np.min_scalar_type(patches - 1)
        cells = [
            patches * order.itemsize / 1e6,
            patches * VALUES["place_bytes"] / 1e6,
            *(
                num_cases * PATCHES_PER_CASE * VALUES[each] / 1e6
                for each in ("opening_s", "opening_disk_s")
            ),
        ]
        rows.append((name, f"{patches:,}", order, *map(_number, cells)))
    columns = ("", "training patches", "type of the order", "order, MB", "places, MB")
    columns += ("opening, s", "index from disk, s")
    return _markdown(columns, rows)


def limits_table():
    """Returns the table of how many GPUs and cores one disk as measured keeps busy."""
    rows, gpu = [], max(rate for _, _, rate, _ in GPU_TRAINING)
    for dtype in ("float32", "float16"):
        from_disk = VALUES["disk_mb_per_s"] * 1e6 / stored_bytes(1, dtype)
        per_core = stored_bytes(PATCHES_PER_CASE, dtype) / VALUES["extraction_core_s"]
        cells = (from_disk, from_disk / gpu, VALUES["disk_mb_per_s"] * 1e6 / per_core)
        rows.append((dtype, *map(_number, cells), _number(VALUES["reader_patches_per_s"] / gpu)))
    columns = ("patches of", "patches/s from one disk", "GPUs that it keeps busy")
    columns += ("cores of extraction that fill it", "GPUs that one thread keeps busy from memory")
    return _markdown(columns, rows)


def epoch_s(num_cases, num_devices, rate, batch_size):
    """Returns the seconds of an epoch and its validation on devices of `rate` patches/s each."""
    num_training = trained_on(num_cases)
    steps = math.ceil(num_training / batch_size / num_devices)
    num_validated = num_cases * PATCHES_PER_CASE - num_training
    return steps * batch_size / rate + VALIDATION * num_validated / rate / num_devices


def ring_bytes(num_devices):
    """Returns what each device sends, and receives, to sum float32 gradients in a ring.

    Formula:

        2 (n - 1) / n * 4 bytes * parameters
    """
    return 2 * (num_devices - 1) / num_devices * 4 * PARAMETERS


def trained_on(num_cases):
    """Returns the number of training patches of so many cases."""
    return round(TRAINED_ON * num_cases) * PATCHES_PER_CASE


def _number(value):
    """Returns a number with three digits that count."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{round(value, 2 - math.floor(math.log10(abs(value)))):,.{digits}f}"


def _markdown(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


if __name__ == "__main__":
    main()
