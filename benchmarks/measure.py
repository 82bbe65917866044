"""What the benchmarks share: functions timed in turn, tables, limits of the machine, noise.

In: functions to time. Out: elapsed seconds, lines of a table on stdout, and patch files of noise.
"""

import math
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from brats.patches.centers import CasePatches
from brats.patches.file import case_file_path, write_case_file
from brats.provenance import software_versions, source_commit
from brats.script import header


def print_header(title, options, *packages):
    """Prints what is measured, with which settings, and on what."""
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "versions": software_versions("numpy", *packages),
        "commit": source_commit(),
    }
    print(header(title, vars(options) | facts), flush=True)


def in_turn(functions, num_runs):
    """Runs every function once per round, so that a busy moment of the machine slows all of them.

    Args:
        functions: Dict of functions without arguments, by name.
        num_runs: Rounds, int.

    Returns:
        Dict of lists of elapsed seconds, by name.
    """
    elapsed = {name: [] for name in functions}
    for _ in range(num_runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            elapsed[name].append(time.perf_counter() - start)
    return elapsed


def print_rates(unit, amounts, elapsed):
    """Prints the amount per second: median, least and most of the runs.

    The last column is the median, over the rounds, of the rate divided by that of the first row.

    Args:
        unit: What is counted, such as "patches/s".
        amounts: How much of it one run does; or a dict of that, by name.
        elapsed: Dict of lists of elapsed seconds, as of `in_turn`.
    """
    print(f"{unit:<34}{'median':>10}{'least':>10}{'most':>10}{'ratio':>8}")
    first = None
    for name, seconds in elapsed.items():
        amount = amounts[name] if isinstance(amounts, dict) else amounts
        rates = [amount / value for value in seconds]
        first = first or rates
        ratio = statistics.median(a / b for a, b in zip(rates, first, strict=True))
        row = f"{name:<34}{statistics.median(rates):10.4g}{min(rates):10.4g}{max(rates):10.4g}"
        print(f"{row}{ratio:8.3f}", flush=True)


def matrix_product(size=2048, num_products=1):
    """Builds a product of two matrices in the backend and precision that networks compute in.

    Args:
        size: Rows and columns of each matrix, int.
        num_products: Products of one call, int.

    Returns:
        `(multiply, gflop)`: a function without arguments, which has run once, and its GFLOP.
    """
    import keras

    from engine.devices.backend import build_predictor

    if keras.backend.backend() == "openvino":
        # The operations of this backend are slow unless they are compiled as a network.
        layer = keras.layers.Dense(size, use_bias=False)
        network = keras.Sequential([keras.Input((None, None, size)), layer])
        predict, images = build_predictor(lambda: network), np.ones((1, 1, size, size), np.float32)

        def multiply():
            for _ in range(num_products):
                predict(images)

    else:
        dtype = keras.config.dtype_policy().compute_dtype
        left, right = (keras.ops.ones((size, size), dtype) for _ in range(2))

        def multiply():
            for _ in range(num_products):
                product = keras.ops.matmul(left, right)
            float(product[0, 0])  # Reading a value waits for the device.

    multiply()
    return multiply, 2 * size**3 * num_products / 1e9


def copy_gb_per_s(num_bytes=2**28, num_runs=5):
    """Returns the best rate of copying memory on one core, in GB/s copied."""
    source, target = (np.ones(num_bytes, np.uint8) for _ in range(2))
    elapsed = in_turn({"copy": lambda: np.copyto(target, source)}, num_runs)
    return num_bytes / min(elapsed["copy"]) / 1e9


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
