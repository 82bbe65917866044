"""What the benchmarks share: functions timed in turn, a table, the machine's limit, and noise.

In: functions to time. Out: their seconds, a table on stdout, and patch files of noise.
"""

import math
import os
import platform
import time
from pathlib import Path

import numpy as np

from brats.patches.centers import CasePatches
from brats.patches.file import case_file_path, write_case_file
from brats.provenance import software_versions, source_commit

NUM_PRODUCTS = 20


def print_header(title, options, *packages):
    """Prints what is measured, with which settings, and on what."""
    print(f"{title}, {time.strftime('%Y-%m-%d')}, commit {source_commit()}")
    print(f"{_processor()}, {os.cpu_count()} cores")
    for facts in (software_versions("numpy", *packages), vars(options)):
        print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)


def in_turn(functions, num_runs):
    """Runs every function once per round, so that a busy moment of the machine slows all of them.

    Returns a dict by name: one `(wall_s, cpu_s)` per round, with the time of child processes.
    """
    times = {name: [] for name in functions}
    for _ in range(num_runs):
        for name, function in functions.items():
            start, cpu_start = time.perf_counter(), sum(os.times()[:4])
            function()
            times[name].append((time.perf_counter() - start, sum(os.times()[:4]) - cpu_start))
    return times


def print_table(times, amounts):
    """Prints the seconds of the runs, and for each unit the median of the amount per second.

    The last column is the median of the ratios to the first row. `amounts` is a dict by unit, such
    as "patches/s", of dicts by name: how much one run does.
    """
    columns = ("median s", "least s", "most s", "CPU s", *amounts, "ratio")
    print(f"{'':<32}" + "".join(f"{name:>11}" for name in columns))
    first_rates = None
    for name, seconds in times.items():
        wall_s, cpu_s = np.transpose(seconds)
        row = [np.median(wall_s), wall_s.min(), wall_s.max(), np.median(cpu_s)]
        for amount in amounts.values():
            rates = amount.get(name, math.nan) / wall_s
            row.append(np.median(rates))
        first_rates = rates if first_rates is None else first_rates
        row.append(np.median(rates / first_rates))
        print(f"{name:<32}" + "".join(f"{value:11.4g}" for value in row), flush=True)


def matrix_product(size=2048):
    """Returns a function that multiplies two matrices `NUM_PRODUCTS` times, and its GFLOP."""
    import keras

    from engine.devices.backend import build_predictor

    if keras.backend.backend() == "openvino":
        # The operations of this backend are slow unless they are compiled as a network.
        layer = keras.layers.Dense(size, use_bias=False)
        network = keras.Sequential([keras.Input((None, None, size)), layer])
        predict, images = build_predictor(lambda: network), np.ones((1, 1, size, size), np.float32)

        def multiply():
            for _ in range(NUM_PRODUCTS):
                predict(images)

    else:
        dtype = keras.config.dtype_policy().compute_dtype
        left, right = (keras.ops.ones((size, size), dtype) for _ in range(2))

        def multiply():
            for _ in range(NUM_PRODUCTS):
                product = keras.ops.matmul(left, right)
            float(product[0, 0])  # Reading a value waits for the device.

    multiply()
    return multiply, 2 * size**3 * NUM_PRODUCTS / 1e9


def forward_gflop(model):
    """Returns the GFLOP of one image through a network's convolutions.

    Args:
        model: Keras model with a fixed input size `(N, H, W, C)`.
    """
    flop = 0
    for layer in model.layers:
        if type(layer).__name__ == "Conv2D":
            _, height, width, _ = layer.output.shape
            flop += 2 * height * width * math.prod(layer.kernel.shape)
    return flop / 1e9


def write_noise(folder, num_cases=1, patches_per_case=438):
    """Writes patch files of noise, the same in all cases, and returns their folder."""
    rng = np.random.default_rng(0)
    shape, limits = (4, 192, 152), ((0, 4), (64, 129), (64, 89))
    centers = [rng.integers(*limit, patches_per_case, np.int32) for limit in limits]
    noise = CasePatches(
        channels=rng.normal(size=(*shape, 4)).astype(np.float32),
        classes=rng.integers(0, 4, shape, np.uint8),
        centers=np.stack(centers, axis=1),
        origin=np.zeros(3, np.int32),
        class_counts=np.zeros(4, np.int64),
        warnings=[],
    )
    facts = {"patches_per_case": patches_per_case, "centers": "published", "dtype": "float32"}
    facts |= {"seed": 0, "class_counts": [0] * 4, "warnings": [], "inputs": {}}
    Path(folder).mkdir(exist_ok=True)
    for number in range(num_cases):
        name = f"noise{number:05}"
        path = case_file_path(folder, name)
        write_case_file(path, noise, facts | {"case": name, "patient": name})
    return folder


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.machine()
